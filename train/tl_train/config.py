"""`TrainConfig`: every choice of a training run, with its default, checked once; TOML in and out."""

import dataclasses
import math
import tomllib
import types
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import tomli_w

from tl_infer.contract import MAX_SIDE_PX, Color
from tl_infer.files import write_text
from tl_train.errors import ConfigError

Mode = Literal["full", "head"]
HeadFit = Literal["sgd", "penalised"]

# The deepest EfficientNet stage sees 1/32 of the input's side.
MIN_SIDE_PX = 32


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run.

    Attributes:
        data: `cats-dogs`, `digits`, or a folder with one sub-folder per class.
        arch: architecture; see `tl_train.models`.
        weights: `default` (pretrained), `none` (random), or a file of weights for the backbone.
        mode: `full` trains all parameters, `head` only the new last layer.
        color: `rgb`, or `gray` to take the colour away.
        size: side of the network's square input, pixels; None for the architecture's own.
        epochs, batch_size: passes over the training pictures; pictures per step.
        lr: Adam's learning rate, kept constant.
        seed: of the new head, the order of the pictures and the splits.
        val_split: share of the training pictures, per class, that is held back to watch the training.
        test_split: share of a folder's pictures, per class, that is only used for the final figures. The built-in
            sets bring their own test pictures and ignore it.
        skip_bad: leave unreadable pictures out instead of stopping at the first.
        head_fit: how the head is fitted on the frozen backbone: `sgd`, or `penalised` (a closed fit whose penalty is
            chosen by cross-validation; `epochs`, `batch_size` and `lr` do not matter to it). In mode `full` the
            penalised head is what the training starts from.
        prior: what the penalised head is drawn to: `none` (zero), `auto` (what the class names say), or a TOML file
            of ImageNet classes for each class; see `tl_train.prior`.

    Raises:
        ConfigError: a value is out of range; the message names the field.

    """

    data: str
    arch: str = "efficientnet_lite0"
    weights: str = "default"
    mode: Mode = "full"
    color: Color = "rgb"
    size: int | None = None
    epochs: int = 10
    batch_size: int = 8
    lr: float = 1e-3
    seed: int = 0
    val_split: float = 0.1
    test_split: float = 0.2
    skip_bad: bool = False
    head_fit: HeadFit = "sgd"
    prior: str = "none"

    def __post_init__(self) -> None:
        _check(self.mode in get_args(Mode), "mode", self.mode, " or ".join(get_args(Mode)))
        _check(self.color in get_args(Color), "color", self.color, " or ".join(get_args(Color)))
        size_fits = self.size is None or MIN_SIDE_PX <= self.size <= MAX_SIDE_PX
        _check(size_fits, "size", self.size, f"{MIN_SIDE_PX} to {MAX_SIDE_PX} pixels")
        _check(self.epochs >= 1, "epochs", self.epochs, "1 or more")
        # Batch normalisation has no statistics of a single picture whose features are one pixel.
        _check(self.batch_size >= 2, "batch_size", self.batch_size, "2 or more")
        _check(math.isfinite(self.lr) and self.lr > 0, "lr", self.lr, "a number above zero")
        _check(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")
        _check(0 <= self.val_split <= 0.9, "val_split", self.val_split, "0 to 0.9")
        _check(0 <= self.test_split <= 0.9, "test_split", self.test_split, "0 to 0.9")
        _check(self.head_fit in get_args(HeadFit), "head_fit", self.head_fit, " or ".join(get_args(HeadFit)))
        prior_is_used = self.prior == "none" or self.head_fit == "penalised"
        _check(prior_is_used, "prior", f"{self.prior} with head_fit sgd", "head_fit penalised, or prior none")

    def save(self, path: Path) -> None:
        """Write the configuration as TOML; fields that are None are left out.

        Raises:
            OutputPathError: the file cannot be written.

        """
        fields = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        write_text(path, tomli_w.dumps(fields))

    @staticmethod
    def load(path: Path) -> "TrainConfig":
        """Read a configuration that `save` wrote, or one written by hand.

        Raises:
            ConfigError: no such file, not TOML, or a field unknown, of the wrong type or out of range.

        """
        try:
            fields = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise ConfigError(f"{path}: not valid TOML: {error}") from error
        try:
            return TrainConfig(**_typed(fields))
        except (ConfigError, TypeError) as error:
            raise ConfigError(f"{path}: {error}") from error


def _typed(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, each of the type that `TrainConfig` declares; whole numbers may stand where floats do."""
    hints = get_type_hints(TrainConfig)
    for name, value in fields.items():
        if name not in hints:
            raise ConfigError(f"{name}: unknown field; expected one of {', '.join(sorted(hints))}")
        kinds = get_args(hints[name]) if isinstance(hints[name], types.UnionType) else (hints[name],)
        allowed = [str if get_args(kind) else kind for kind in kinds]  # a Literal is a text
        if float in allowed:
            allowed.append(int)
        if type(value) not in allowed:
            raise ConfigError(f"{name}: found {value!r}, expected {' or '.join(k.__name__ for k in allowed)}")
    return fields


def _check(holds: bool, field: str, found: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{field}: found {found}, expected {expected}")
