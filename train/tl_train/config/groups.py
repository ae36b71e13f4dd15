"""The five groups of a configuration: data, input, model, head, steps. Each checks its own values."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from tl_infer.limits import DEFAULT_LIMITS, FULL_DEPTH, MIN_DEPTH, Limits
from tl_infer.model.contract import MAX_SIDE_PX, Anchor, Color, Fit, Resample
from tl_train.config.options import check, check_types, option
from tl_train.errors import ConfigError

Mode = Literal["auto", "head", "partial", "gradual", "full"]
HeadFit = Literal["sgd", "penalised"]
HeadKind = Literal["replace", "append"]
Optimizer = Literal["adam", "adamw"]
Schedule = Literal["constant", "cosine"]
ClassWeights = Literal["none", "balanced"]
Augment = Literal["none", "light", "standard"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
MatOrder = Literal["column", "row"]
Parts = Literal["auto", "ignore"]

DEFAULT_VAL_SPLIT = 0.1
DEFAULT_TEST_SPLIT = 0.2

# The modes that train the last stages, from a penalised head.
TRAINS_STAGES = ("auto", "partial")

# What these modes have for a default where it is not that of the field. Source: docs/datasets.md, "How the last stages
# are trained", which has what was measured.
STAGES_DEFAULTS: Mapping[str, Any] = {
    "epochs": 0,
    "optimizer": "adamw",
    "schedule": "cosine",
    "batch_size": 64,
    "label_smoothing": 0.1,
    "augment": "light",
}
STAGES_WARMUP = 0.3  # of the epochs, where none is given; as in torch's OneCycleLR

# The deepest EfficientNet stage sees 1/32 of the input's side.
MIN_SIDE_PX = 32


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Where the images come from and how they are split."""

    source: str = option(
        name="data", on_command_line=False,  # there it is the argument
        help="cats-dogs, digits, a folder with one sub-folder per class (or train/, val/, test/ with those), a CSV "
        "file with columns for the images and their labels, or a .mat file.",
    )  # fmt: skip
    val_split: float | None = option(
        None,
        shown=f"{DEFAULT_VAL_SPLIT}; with mode head and a penalised head, 0 if the dataset has a test split",
        help="Fraction of the training images held out for validation, unless the dataset has a validation split.",
    )
    test_split: float | None = option(
        None,
        shown=f"{DEFAULT_TEST_SPLIT}",
        help="Fraction of the images held out for testing, unless the dataset has a test split.",
    )
    parts: Parts = option(
        "auto",
        help="auto: folders named train, val, test (or training, valid, validation, dev, testing) and the split column "
        "of a CSV file define the parts of the dataset; ignore: such folders are classes, the column is not read.",
    )
    csv_columns: str = option(
        "", metavar="path=A,label=B", shown="",
        help="Columns of a CSV file that hold the image paths, the labels and, optionally, split and group.",
    )  # fmt: skip
    images_root: str = option(
        "", metavar="DIR", shown="", help="Folder that the paths in a CSV file are relative to, if not the file's own."
    )
    unknown: str = option(
        "", metavar="DIR", shown="",
        help="Folder of images of none of the classes: the report says how many the model finds unfamiliar.",
    )  # fmt: skip
    fix: str = option(
        "", metavar="FILE", shown="",
        help="Corrections of labels: an earlier run's suspects.csv with keep, relabel or drop in its column action; "
        "relabel takes the class in the column suggested. The images and their folders stay as they are.",
    )  # fmt: skip
    skip_bad: bool = option(False, help="Skip unreadable images instead of stopping.")
    no_cache: bool = option(False, help="Do not read or write the cache.")
    max_pixels: int = option(DEFAULT_LIMITS.max_pixels, help="Refuse images with more pixels.")
    max_side: int = option(
        DEFAULT_LIMITS.max_side_px, metavar="PIXELS", help="Refuse images wider or taller than this."
    )
    bit_depth: int = option(
        FULL_DEPTH,
        metavar="BITS",
        help="Significant bits in 16-bit images, e.g. 12 for a 12-bit camera; stored in the exported file.",
    )
    mat_keys: str = option("", metavar="A,B", shown="", help="Variables of a .mat file, one per class.")
    mat_shape: str = option("", metavar="HxW", shown="", help="Height and width of an image in a .mat file: 64x64.")
    mat_order: MatOrder = option(
        "column",
        help="Order of an image's values in a .mat file: down its columns, as MATLAB stores them, or along its rows.",
    )

    def __post_init__(self) -> None:
        check_types(self)
        check(0 <= self.val_share <= 0.9, "val_split", self.val_split, "0 to 0.9")
        check(0 <= self.test_share <= 0.9, "test_split", self.test_split, "0 to 0.9")
        for name in ("max_pixels", "max_side"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        in_range = MIN_DEPTH <= self.bit_depth <= FULL_DEPTH
        check(in_range, "bit_depth", self.bit_depth, f"{MIN_DEPTH} to {FULL_DEPTH}")

    @property
    def limits(self) -> Limits:
        """What decoding an image may take, and how 16-bit images are scaled."""
        bit_depth = None if self.bit_depth == FULL_DEPTH else self.bit_depth
        return Limits(max_pixels=self.max_pixels, max_side_px=self.max_side, bit_depth=bit_depth)

    @property
    def val_share(self) -> float:
        """Fraction of the training images to hold out for validation where any are."""
        return DEFAULT_VAL_SPLIT if self.val_split is None else self.val_split

    @property
    def test_share(self) -> float:
        """Fraction of the images to hold out for testing, where the dataset has no test split."""
        return DEFAULT_TEST_SPLIT if self.test_split is None else self.test_split


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InputConfig:
    """How an image becomes the network's input; see `tl_infer.PreprocessSpec`."""

    color: Color = option("rgb", help="gray: convert to greyscale, also in the exported model.")
    size: int | str | None = option(
        None,
        metavar="PX|HxW",
        shown="the architecture's",
        help="Side of the input in pixels, or its height and width: 192x256.",
    )
    fit: Fit = option(
        "squash",
        help="How images fill the input: squash ignores the aspect ratio, letterbox keeps it and fills the rest, pad "
        "does so without enlarging, crop takes the centre.",
    )
    anchor: Anchor = option("center", help="Where letterbox and pad place the image.")
    fill: str = option("black", metavar="black|white|#rrggbb", help="Colour around the image with letterbox and pad.")
    resample: Resample = option("bilinear", help="Interpolation when resizing.")
    resize_px: int | None = option(
        None, metavar="PX", shown="size / 0.875", help="Length that crop resizes the shorter side to."
    )

    def __post_init__(self) -> None:
        check_types(self)
        sides = self.size_px or (MIN_SIDE_PX,)
        in_range = all(MIN_SIDE_PX <= side_px <= MAX_SIDE_PX for side_px in sides)
        check(in_range, "size", self.size, f"{MIN_SIDE_PX} to {MAX_SIDE_PX} pixels a side")
        parse_color(self.fill)
        if self.fit in ("squash", "crop"):  # which leave nothing of the canvas to see
            only = f"with fit {self.fit}; only letterbox and pad have a canvas"
            check(self.anchor == "center", "anchor", self.anchor, f"center {only}")
            check(self.fill == "black", "fill", self.fill, f"black {only}")
        if self.resize_px is not None:
            check(self.fit == "crop", "resize_px", self.resize_px, f"nothing with fit {self.fit}; it is for crop")
            least = max(sides)
            fits = least <= self.resize_px <= MAX_SIDE_PX
            check(fits, "resize_px", self.resize_px, f"{least} to {MAX_SIDE_PX} pixels, no less than the size")

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Height and width of the input; None for the architecture's own."""
        if self.size is None or isinstance(self.size, int):
            return None if self.size is None else (self.size, self.size)
        sides = parse_sides(self.size)
        if sides is None:
            raise ConfigError(f"size: found {self.size!r}, expected pixels, as 224, or HEIGHTxWIDTH, as 192x256")
        return sides

    @property
    def fill_rgb(self) -> tuple[int, int, int]:
        """Red, green and blue of `fill`, 0..255."""
        return parse_color(self.fill)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which network, from which weights, which of its parameters are trained, and by what loss."""

    arch: str = option(
        "efficientnet_lite0",
        help="efficientnet_lite0 (its weights are installed), efficientnet_b0 and others (they download), or "
        "timm:NAME.",
    )
    weights: str = option(
        "default",
        metavar="default|none|FILE",
        help="Initial weights: pretrained (default), random (none), or a .safetensors or torch state dict file.",
    )
    mode: Mode = option(
        "auto",
        shown="auto; head with --head-fit sgd",
        help="What is trained. head: the new last layer on a frozen backbone; partial: the head and the last stages, "
        "trained on cached activations of the frozen stages; gradual: the head, then all parameters, with frozen "
        "batch-norm statistics; full: all parameters; auto: the head, then the last stages where enough training "
        "images can be held back and --time-limit allows, keeping whichever is better on the images held back.",
    )
    time_limit: float = option(
        10.0,
        metavar="MINUTES",
        help="Approximate limit on the run's time with mode auto; the head is fitted in any case.",
    )
    freeze_until: str = option(
        "", metavar="NAME", shown="the layer that leaves about a third of the multiply-adds trainable",
        help="Last frozen layer with modes auto and partial; an unknown name lists the valid ones.",
    )  # fmt: skip
    label_smoothing: float = option(0.0, help="Fraction of the target probability spread over all classes.")
    class_weights: ClassWeights = option(
        "none", help="Class weights in the loss; balanced: rare classes count as much as frequent ones."
    )

    def __post_init__(self) -> None:
        check_types(self)
        check(self.time_limit > 0, "time_limit", self.time_limit, "minutes above 0")
        check(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "0 to below 1")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """The new last layer: where it is put, and how it is fitted on the frozen backbone."""

    kind: HeadKind = option("replace", name="head", help="Replace the pretrained head, or append a layer after it.")
    fit: HeadFit = option(
        "penalised",
        name="head_fit",
        help="sgd: train with Adam; penalised: L2-regularised softmax regression, its strength chosen by "
        "cross-validation; further training starts from it.",
    )
    prior: str = option(
        "auto",
        metavar="auto|none|FILE",
        help="What the penalised head is regularised towards: class names (auto), zero (none), or a TOML file of "
        "ImageNet classes.",
    )

    def __post_init__(self) -> None:
        check_types(self)
        prior_is_used = self.prior in ("none", "auto") or self.fit == "penalised"
        check(prior_is_used, "prior", f"{self.prior} with head_fit sgd", "head_fit penalised, or prior none")
        replaces = self.fit == "sgd" or self.kind == "replace"
        check(replaces, "head", f"{self.kind} with head_fit penalised", "replace, or head_fit sgd with it")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepsConfig:
    """Training by gradient steps; a penalised head on a frozen backbone uses none of it."""

    augment: Augment = option(
        "none",
        help="Random changes to the training images. light: mirroring, slight crops and changes of brightness; "
        "standard: more of it, and rotation, shearing, recolouring. With modes auto and partial: mirroring only, "
        "where harmless.",
    )
    epochs: int = option(10, help="Passes over the training images; 0: chosen automatically (modes auto and partial).")
    head_epochs: int = option(3, help="Epochs on the head alone with mode gradual.")
    batch_size: int = option(8, help="Images per step.")
    lr: float = option(1e-3, help="Learning rate.")
    finetune_lr: float | None = option(
        None, shown="a tenth of --lr", help="Learning rate of all parameters with mode gradual."
    )
    optimizer: Optimizer = option("adam", help="Optimizer; adamw has weight decay.")
    weight_decay: float = option(0.01, help="AdamW weight decay, except on biases and norms.")
    schedule: Schedule = option("constant", help="Learning-rate schedule.")
    warmup_epochs: float = option(
        0.0,
        shown=f"0; modes {' and '.join(TRAINS_STAGES)}: {STAGES_WARMUP:.0%} of the epochs",
        help="Epochs over which the learning rate rises from zero; may be a fraction.",
    )
    ema: float = option(
        0.0,
        metavar="DECAY",
        shown="",
        help="Decay of a moving average of the weights, kept in their place; often 0.99.",
    )
    patience: int | None = option(
        None,
        metavar="EPOCHS",
        shown="",
        help="Stop after this many epochs without a lower validation loss and keep the best epoch's weights.",
    )
    devices: int = option(1, help="Processes that share each batch.")
    precision: Precision = option("32-true", help="Numeric precision, as lightning-fabric names it.")
    redraw_val: bool = option(
        False,
        on_command_line=False,
        help="Draw new validation images every epoch, as the chapter does. They are trained on in other epochs, so the "
        "validation curves are optimistic.",
    )

    def __post_init__(self) -> None:
        check_types(self)
        check(self.epochs >= 0, "epochs", self.epochs, "0 or more")
        # Batch normalisation has no statistics of a single image whose features are one pixel.
        check(self.batch_size >= 2, "batch_size", self.batch_size, "2 or more")
        self._check_rates()
        check(0 <= self.ema < 1, "ema", self.ema, "0 (none) to below 1, often 0.99")
        check(self.patience is None or self.patience >= 1, "patience", self.patience, "1 or more")
        steady = self.patience is None or not self.redraw_val
        check(steady, "patience", self.patience, "nothing with redraw_val, whose validation images change")
        check(1 <= self.devices <= 64, "devices", self.devices, "1 to 64")
        shared = self.batch_size % self.devices == 0 and self.batch_size >= 2 * self.devices
        expected = f"a multiple of {self.devices} devices, two or more for each"
        check(shared, "batch_size", self.batch_size, expected)

    def _check_rates(self) -> None:
        check(math.isfinite(self.lr) and self.lr > 0, "lr", self.lr, "a number above zero")
        check(0 <= self.weight_decay < 1, "weight_decay", self.weight_decay, "0 to below 1")
        within = 0 <= self.warmup_epochs < max(1, self.epochs)
        check(within, "warmup_epochs", self.warmup_epochs, f"0 to below the {self.epochs} epochs")
        positive = self.finetune_lr is None or (math.isfinite(self.finetune_lr) and self.finetune_lr > 0)
        check(positive, "finetune_lr", self.finetune_lr, "a number above zero")


def parse_sides(text: str) -> tuple[int, int] | None:
    """Height and width, pixels, of `192x256`; None for any other text."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})[xX]([1-9][0-9]{0,4})", text)
    return (int(match[1]), int(match[2])) if match else None


def size_in_words(size: tuple[int, int]) -> str:
    """A height and a width as `--size` takes them: 224, or 192x256."""
    height, width = size
    return f"{height}" if height == width else f"{height}x{width}"


def parse_color(text: str) -> tuple[int, int, int]:
    """Red, green and blue, 0..255, of `black`, `white` or `#rrggbb`.

    Raises:
        ConfigError: the text is none of these.

    """
    code = {"black": "#000000", "white": "#ffffff"}.get(text, text)
    check(re.fullmatch("#[0-9a-fA-F]{6}", code) is not None, "fill", text, "black, white or #rrggbb, as in #7f7f7f")
    red, green, blue = bytes.fromhex(code[1:])
    return red, green, blue
