"""`TrainConfig`: the five groups together; flat names in and out, as recipes, config.toml and callers use them."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tl_infer.system.files import write_text
from tl_train.config.choices import MODE_DEFAULTS, TRAINS_STAGES
from tl_train.config.data import DataConfig
from tl_train.config.multi_label import check_multi_label
from tl_train.config.network import HeadConfig, InputConfig, ModelConfig
from tl_train.config.options import Option, check, check_types, option, options_of
from tl_train.config.steps import StepsConfig
from tl_train.config.toml_file import read_toml
from tl_train.errors import ConfigError

# In the order of `--help`.
_GROUPS: Mapping[str, type] = {
    "model": ModelConfig,
    "head": HeadConfig,
    "input": InputConfig,
    "steps": StepsConfig,
    "data": DataConfig,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run. `TrainConfig.of("photos/", epochs=5)` builds one from flat names.

    Attributes:
        data: where the images come from and how they are split.
        input: how an image becomes the network's input.
        model: which network, and which of its parameters are trained.
        head: the new last layer.
        steps: training by steps.
        seed: for head initialisation, shuffling and splits, except the test split, which is always the same.

    Raises:
        ConfigError: a value is out of range, or two do not fit together; the message names the field.

    """

    data: DataConfig
    input: InputConfig = dataclasses.field(default_factory=InputConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    head: HeadConfig = dataclasses.field(default_factory=HeadConfig)
    steps: StepsConfig = dataclasses.field(default_factory=StepsConfig)
    seed: int = option(
        0, help="Random seed for head initialisation, shuffling and splits; the test split is always the same."
    )

    def __post_init__(self) -> None:
        if not isinstance(self.data, DataConfig):
            raise ConfigError(f"data: found {self.data!r}, expected a DataConfig; TrainConfig.of(...) takes flat names")
        check_types(self)
        steps = self.steps
        check(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")
        if self.model.mode in TRAINS_STAGES:
            expected = f"penalised with mode {self.model.mode}, or mode head, gradual or full"
            check(self.head.fit == "penalised", "head_fit", self.head.fit, expected)
        else:
            check(steps.epochs >= 1, "epochs", steps.epochs, "1 or more")
        if self.model.mode == "gradual":
            fewest = 0 if self.head.fit == "penalised" else 1  # a fitted head needs no steps of its own
            within = fewest <= steps.head_epochs < steps.epochs
            check(within, "head_epochs", steps.head_epochs, f"{fewest} to {steps.epochs - 1}, below epochs")
        check_multi_label(self.data, self.model, self.head, steps)
        redraws = not steps.redraw_val or self.data.val_share > 0
        check(redraws, "redraw_val", steps.redraw_val, "val_split above 0 with it")

    @staticmethod
    def of(data: str, **fields: Any) -> "TrainConfig":
        """A configuration from flat names, as `tl-train` has them with underscores: `TrainConfig.of("d", lr=1e-4)`.

        Raises:
            ConfigError: a field unknown, of the wrong type or out of range.

        """
        return TrainConfig.from_fields({"data": data, **fields})

    @staticmethod
    def from_fields(fields: Mapping[str, Any]) -> "TrainConfig":
        """A configuration from plain values, as a TOML file or a recipe has them.

        Raises:
            ConfigError: a field unknown, missing, of the wrong type or out of range.

        """
        known = {found.name: (group, found) for group, found in all_options()}
        # Steps of Adam on the head are a wish for that head; the modes that go on need the penalised one.
        mode = fields.get("mode", "head" if fields.get("head_fit") == "sgd" else ModelConfig().mode)
        if fields.get("multi_label") is True and mode == "auto":
            mode = "head"
            fields = {**fields, "mode": mode}
        fields = {"mode": mode, **_defaults(mode, fields), **fields}
        values: dict[str, dict[str, Any]] = {group: {} for group in ("", *_GROUPS)}
        for name, value in fields.items():
            if name not in known:
                raise ConfigError(f"{name}: unknown field; expected one of {', '.join(sorted(known))}")
            group, found = known[name]
            values[group][found.attribute] = value
        if "data" not in fields:
            raise ConfigError("data: the field is missing")
        groups = {group: kind(**values[group]) for group, kind in _GROUPS.items()}
        return TrainConfig(**groups, **values[""])

    def fields(self) -> dict[str, Any]:
        """Flat names and values of all options, those that are None too."""
        return {
            found.name: getattr(getattr(self, group) if group else self, found.attribute)
            for group, found in all_options()
        }

    def changed(self, **fields: Any) -> "TrainConfig":
        """A copy with other values for some flat names.

        Raises:
            ConfigError: as `from_fields`.

        """
        return TrainConfig.from_fields({**self.fields(), **fields})

    def difference(self, other: "TrainConfig") -> list[str]:
        """The fields in which `other` differs, as `name: here, there`."""
        theirs = other.fields()
        return [f"{name}: {value}, {theirs[name]}" for name, value in self.fields().items() if value != theirs[name]]

    @property
    def takes_steps(self) -> bool:
        """Whether anything is trained by steps."""
        return self.model.mode != "head" or self.head.fit != "penalised"

    @property
    def needs_validation(self) -> bool:
        """Whether only validation images can watch the training, or calibrate.

        A penalised head is calibrated by cross-fitting, the last stages by training images that were held back.
        """
        return self.head.fit != "penalised" or self.model.mode not in ("head", *TRAINS_STAGES)

    def goes_on_from(self, before: "TrainConfig") -> bool:
        """Whether this is the same run with more epochs, so that it can start where `before` ended."""
        same = before.changed(epochs=self.steps.epochs) == self if self.steps.epochs > 0 else False
        return same and self.model.mode in ("full", "gradual") and self.steps.epochs > before.steps.epochs

    def idle_fields(self, names: Iterable[str]) -> list[str]:
        """Those of the fields `names` that change nothing in this mode."""
        mode = self.model.mode
        idle = set() if mode == "auto" or self.model.compares else {"time_limit"}
        idle.add("devices" if mode in TRAINS_STAGES else "freeze_until")
        if not self.takes_steps:
            idle |= {found.name for found in options_of(StepsConfig)}
        return [name for name in names if name in idle]

    def save(self, path: Path) -> None:
        """Write the configuration as TOML; fields that are None are left out.

        Raises:
            OutputPathError: the file cannot be written.

        """
        write_text(path, self.to_toml())

    def to_toml(self) -> str:
        """The configuration as TOML; fields that are None are left out."""
        import tomli_w  # of the extra; `--help` does without

        return tomli_w.dumps({name: value for name, value in self.fields().items() if value is not None})

    @staticmethod
    def load(path: Path) -> "TrainConfig":
        """Read a configuration that `save` wrote, or one written by hand.

        Raises:
            ConfigError: no such file, not TOML, or a field unknown, of the wrong type or out of range.

        """
        fields = read_toml(path, str(path), "the configuration of a run")
        try:
            return TrainConfig.from_fields(fields)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error


def _defaults(mode: Any, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a mode has for defaults in place of the fields' own: something only where it begins from a fitted head."""
    begins_from_head = isinstance(mode, str) and fields.get("head_fit") != "sgd"
    return MODE_DEFAULTS.get(mode, {}) if begins_from_head else {}


def all_options() -> Iterator[tuple[str, Option]]:
    """Every option with the name of its group, in the order of `--help`; "" is the configuration itself."""
    for group, kind in {**_GROUPS, "": TrainConfig}.items():
        for found in options_of(kind):
            yield group, found
