"""`TrainConfig`: every choice of a training run, with its default, checked once; TOML in and out."""

import dataclasses
import math
import re
import tomllib
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import tomli_w

from tl_infer.model.contract import MAX_SIDE_PX, Anchor, Color, Fit, Resample
from tl_infer.system.files import write_text
from tl_train.errors import ConfigError

Mode = Literal["full", "head", "gradual"]
HeadFit = Literal["sgd", "penalised"]
HeadKind = Literal["replace", "append"]
Optimizer = Literal["adam", "adamw"]
Schedule = Literal["constant", "cosine"]
ClassWeights = Literal["none", "balanced"]
Augment = Literal["none", "light", "standard"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
MatOrder = Literal["column", "row"]

_CHOICES = {
    "mode": Mode,
    "color": Color,
    "head": HeadKind,
    "head_fit": HeadFit,
    "optimizer": Optimizer,
    "schedule": Schedule,
    "class_weights": ClassWeights,
    "precision": Precision,
    "fit": Fit,
    "anchor": Anchor,
    "resample": Resample,
    "augment": Augment,
    "mat_order": MatOrder,
}

# What only training by steps takes notice of.
_OF_STEPS = {
    "epochs", "batch_size", "lr", "optimizer", "weight_decay", "schedule", "warmup_epochs", "label_smoothing",
    "class_weights", "ema", "patience", "head_epochs", "finetune_lr", "redraw_val", "augment",
}  # fmt: skip

# The deepest EfficientNet stage sees 1/32 of the input's side.
MIN_SIDE_PX = 32


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run.

    Attributes:
        data: `cats-dogs`, `digits`, a folder with one sub-folder per class (below `train`, `val`, `test` where these
            are there), a CSV file with the columns path, label and optionally split and group, or a `.mat` file.
        arch: architecture; see `tl_train.models.network`.
        weights: `default` (pretrained), `none` (random), or a file of weights for the backbone.
        mode: `full` trains all parameters, `head` only the new last layer.
        color: `rgb`, or `gray` to take the colour away.
        size: side of the network's square input, pixels; None for the architecture's own.
        epochs, batch_size: passes over the training pictures; pictures per step.
        lr: Adam's learning rate, kept constant.
        optimizer: `adam` as in the chapter, or `adamw` with `weight_decay` on all but biases and norms.
        weight_decay: AdamW's.
        schedule: `constant`, or `cosine` to zero after `warmup_epochs` of linear growth.
        warmup_epochs: may be a fraction of an epoch.
        label_smoothing: share of the target probability that is spread over all classes, 0..1.
        class_weights: `balanced` weighs each class by the inverse of its frequency.
        ema: decay of the exponential moving average of the weights that is kept in the end; 0 for none.
        patience: stop after so many epochs without a lower validation loss, and keep the best epoch's weights; None
            trains to the end and keeps the last.
        head_epochs: with mode `gradual`, the epochs on the head alone, out of `epochs`.
        finetune_lr: with mode `gradual`, the rate for all parameters afterwards; None for a tenth of `lr`.
        redraw_val: draw the validation pictures anew every epoch, as the chapter does. They are trained on in other
            epochs, so the validation curves flatter the model.
        devices: processes to train with, each taking its share of every batch.
        precision: `32-true`, `bf16-mixed` or `16-mixed`, as lightning-fabric names them.
        seed: of the new head, the order of the pictures and the splits.
        val_split: share of the training pictures, per class, that is held back to watch the training.
        test_split: share of the pictures, per class, that is only used for the final figures. Data that say which
            pictures these are, the built-in sets among them, ignore it; the same holds for `val_split`.
        skip_bad: leave unreadable pictures out instead of stopping at the first.
        head: `replace` the pretrained last layer with the new one, or `append` the new one behind it.
        fit: how a picture of another shape fills the input; see `tl_infer.PreprocessSpec`.
        anchor, fill: where the picture lies on the canvas of letterbox and pad, and the canvas's colour: `black`,
            `white` or `#rrggbb`.
        resample: the interpolation of every resize.
        resize_px: what crop resizes the shorter side to, pixels; None for the input's size / 0.875.
        augment: random changes of the training pictures; see `tl_train.training.augment`.
        mat_keys: variables of a `.mat` file, one per class, with commas between them; empty for other data.
        mat_shape: height and width of the pictures in its columns, such as `64x64`.
        mat_order: `column` where a column holds a picture's columns one after the other (MATLAB's order), else `row`.
        head_fit: how the head is fitted on the frozen backbone: `sgd`, or `penalised` (a closed fit whose penalty is
            chosen by cross-validation; `epochs`, `batch_size` and `lr` do not matter to it). In mode `full` the
            penalised head is what the training starts from.
        prior: what the penalised head is drawn to: `none` (zero), `auto` (what the class names say, where they say
            enough), or a TOML file of ImageNet classes for each class; see `tl_train.prior.prior`.

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
    optimizer: Optimizer = "adam"
    weight_decay: float = 0.01
    schedule: Schedule = "constant"
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    class_weights: ClassWeights = "none"
    ema: float = 0.0
    patience: int | None = None
    head_epochs: int = 3
    finetune_lr: float | None = None
    redraw_val: bool = False
    devices: int = 1
    precision: Precision = "32-true"
    head: HeadKind = "replace"
    fit: Fit = "squash"
    anchor: Anchor = "center"
    fill: str = "black"
    resample: Resample = "bilinear"
    resize_px: int | None = None
    augment: Augment = "none"
    mat_keys: str = ""
    mat_shape: str = ""
    mat_order: MatOrder = "column"
    head_fit: HeadFit = "sgd"
    prior: str = "none"

    def __post_init__(self) -> None:
        for name, kind in _CHOICES.items():
            _check(getattr(self, name) in get_args(kind), name, getattr(self, name), " or ".join(get_args(kind)))
        size_fits = self.size is None or MIN_SIDE_PX <= self.size <= MAX_SIDE_PX
        _check(size_fits, "size", self.size, f"{MIN_SIDE_PX} to {MAX_SIDE_PX} pixels")
        _check(self.epochs >= 1, "epochs", self.epochs, "1 or more")
        # Batch normalisation has no statistics of a single picture whose features are one pixel.
        _check(self.batch_size >= 2, "batch_size", self.batch_size, "2 or more")
        _check(math.isfinite(self.lr) and self.lr > 0, "lr", self.lr, "a number above zero")
        _check(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")
        _check(0 <= self.val_split <= 0.9, "val_split", self.val_split, "0 to 0.9")
        _check(0 <= self.test_split <= 0.9, "test_split", self.test_split, "0 to 0.9")
        _check(0 <= self.weight_decay < 1, "weight_decay", self.weight_decay, "0 to below 1")
        within = 0 <= self.warmup_epochs < self.epochs
        _check(within, "warmup_epochs", self.warmup_epochs, f"0 to below the {self.epochs} epochs")
        _check(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "0 to below 1")
        _check(0 <= self.ema < 1, "ema", self.ema, "0 (none) to below 1, often 0.99")
        _check(self.patience is None or self.patience >= 1, "patience", self.patience, "1 or more")
        steady = self.patience is None or not self.redraw_val
        _check(steady, "patience", self.patience, "nothing with redraw_val, whose validation pictures change")
        if self.mode == "gradual":
            _check(1 <= self.head_epochs < self.epochs, "head_epochs", self.head_epochs, f"1 to {self.epochs - 1}")
        positive = self.finetune_lr is None or (math.isfinite(self.finetune_lr) and self.finetune_lr > 0)
        _check(positive, "finetune_lr", self.finetune_lr, "a number above zero")
        _check(not self.redraw_val or self.val_split > 0, "redraw_val", self.redraw_val, "val_split above 0 with it")
        _check(1 <= self.devices <= 64, "devices", self.devices, "1 to 64")
        shared = self.batch_size % self.devices == 0 and self.batch_size >= 2 * self.devices
        _check(
            shared, "batch_size", self.batch_size, f"two or more for each of {self.devices} devices, the same number"
        )
        prior_is_used = self.prior in ("none", "auto") or self.head_fit == "penalised"
        _check(prior_is_used, "prior", f"{self.prior} with head_fit sgd", "head_fit penalised, or prior none")
        replaces = self.head_fit == "sgd" or self.head == "replace"
        _check(replaces, "head", f"{self.head} with head_fit penalised", "replace, or head_fit sgd with it")
        self._check_preprocessing()

    def _check_preprocessing(self) -> None:
        parse_color(self.fill)
        if self.fit in ("squash", "crop"):  # which leave nothing of the canvas to see
            only = f"with fit {self.fit}; only letterbox and pad have a canvas"
            _check(self.anchor == "center", "anchor", self.anchor, f"center {only}")
            _check(self.fill == "black", "fill", self.fill, f"black {only}")
        if self.resize_px is not None:
            _check(self.fit == "crop", "resize_px", self.resize_px, f"nothing with fit {self.fit}; it is for crop")
            least = self.size or MIN_SIDE_PX
            fits = least <= self.resize_px <= MAX_SIDE_PX
            _check(fits, "resize_px", self.resize_px, f"{least} to {MAX_SIDE_PX} pixels, no less than the size")

    def difference(self, other: "TrainConfig") -> list[str]:
        """The fields in which `other` differs, as `name: here, there`."""
        names = [field.name for field in dataclasses.fields(self)]
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in names]
        return [f"{name}: {mine}, {theirs}" for name, mine, theirs in pairs if mine != theirs]

    def idle_fields(self, names: Iterable[str]) -> list[str]:
        """Those of the fields `names` that change nothing in this run: steps where the head is fitted at once."""
        is_closed = self.mode == "head" and self.head_fit == "penalised"
        return [name for name in names if is_closed and name in _OF_STEPS]

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
            return TrainConfig.from_fields(fields)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    @staticmethod
    def from_fields(fields: dict[str, Any]) -> "TrainConfig":
        """A configuration from plain values, as a TOML file or a recipe has them.

        Raises:
            ConfigError: a field unknown, missing, of the wrong type or out of range.

        """
        typed = _typed(fields)
        if "data" not in typed:
            raise ConfigError("data: the field is missing")
        return TrainConfig(**typed)


def parse_color(text: str) -> tuple[int, int, int]:
    """Red, green and blue, 0..255, of `black`, `white` or `#rrggbb`.

    Raises:
        ConfigError: the text is none of these.

    """
    code = {"black": "#000000", "white": "#ffffff"}.get(text, text)
    _check(re.fullmatch("#[0-9a-fA-F]{6}", code) is not None, "fill", text, "black, white or #rrggbb, as in #7f7f7f")
    red, green, blue = bytes.fromhex(code[1:])
    return red, green, blue


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
