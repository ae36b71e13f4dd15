"""The five groups of a configuration: data, input, model, head, steps. Each checks its own values."""

import dataclasses
import math

from tl_infer.limits import DEFAULT_LIMITS, FULL_DEPTH, MIN_DEPTH, Limits, parse_formats
from tl_infer.model.contract import MAX_SIDE_PX, Anchor, Color, Fit, Resample
from tl_train.config.choices import (
    DEFAULT_SEPARATOR,
    DEFAULT_TEST_SPLIT,
    DEFAULT_VAL_SPLIT,
    MIN_SIDE_PX,
    STAGES_WARMUP,
    TRAINS_STAGES,
    Augment,
    ClassWeights,
    HeadFit,
    HeadKind,
    MatOrder,
    Mode,
    Optimizer,
    Parts,
    Precision,
    Schedule,
    parse_color,
    parse_sides,
)
from tl_train.config.options import check, check_types, option
from tl_train.errors import ConfigError


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
        shown=f"{DEFAULT_VAL_SPLIT}; with modes auto, partial and head and a penalised head, 0 if the dataset has a "
        "test split",
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
    multi_label: bool = option(
        False,
        help="An image may have several labels: those of a CSV file's column 'labels'; or its columns of 1 (present), "
        "0 (absent) or nothing (unknown), one per label; or of all class folders that hold a copy of it. With modes "
        "head (the default with it), gradual and full.",
    )
    label_separator: str = option(
        DEFAULT_SEPARATOR, metavar="TEXT", help="What stands between the labels in a CSV file's column 'labels'."
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
    formats: str = option(
        "", metavar="A,B", shown="",
        help="Also read images of these formats: avif, heic (needs the extra heif), jpeg2000, "
        "pnm (PPM, PGM, PBM), tga.",
    )  # fmt: skip
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
        needs = self.multi_label or self.label_separator == DEFAULT_SEPARATOR
        check(needs, "label_separator", self.label_separator, "multi_label with it")
        check(bool(self.label_separator), "label_separator", "nothing", "what stands between labels")
        for name in ("max_pixels", "max_side"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        in_range = MIN_DEPTH <= self.bit_depth <= FULL_DEPTH
        check(in_range, "bit_depth", self.bit_depth, f"{MIN_DEPTH} to {FULL_DEPTH}")
        try:
            Limits(formats=parse_formats(self.formats))
        except ValueError as error:
            raise ConfigError(str(error)) from error

    @property
    def limits(self) -> Limits:
        """What decoding an image may take, and how 16-bit images are scaled."""
        bit_depth = None if self.bit_depth == FULL_DEPTH else self.bit_depth
        formats = parse_formats(self.formats)
        return Limits(max_pixels=self.max_pixels, max_side_px=self.max_side, bit_depth=bit_depth, formats=formats)

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
        metavar="NAME|auto|A,B,...",
        help="efficientnet_lite0, lite1, lite2 (their weights are installed), efficientnet_b0 and others (they "
        "download), or timm:NAME. auto, or several names: compare them by cross-validation on the training images and "
        "take the fastest within a standard error of the best.",
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
        help="Approximate limit on the run's time with mode auto; the head is fitted in any case. A third of it at "
        "most goes into comparing architectures.",
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
        allowed = ("default",) if self.arch == "auto" else ("default", "none")
        comparable = not self.compares or self.weights in allowed
        check(comparable, "weights", self.weights, f"{' or '.join(allowed)} with arch {self.arch}")
        check(self.time_limit > 0, "time_limit", self.time_limit, "minutes above 0")
        check(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "0 to below 1")

    @property
    def compares(self) -> bool:
        """Whether the architecture is chosen among several."""
        return self.arch == "auto" or "," in self.arch


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
    label_precision: float | None = option(
        None, metavar="SHARE", shown="the threshold with the best F1",
        help="With --multi-label: give a label from the lowest probability on that has this precision on images that "
        "the head was not fitted on.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_types(self)
        prior_is_used = self.prior in ("none", "auto") or self.fit == "penalised"
        check(prior_is_used, "prior", f"{self.prior} with head_fit sgd", "head_fit penalised, or prior none")
        precision = self.label_precision
        check(precision is None or 0 < precision <= 1, "label_precision", precision, "above 0, at most 1")
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
    precision: Precision = option(
        "auto",
        help="Numeric precision, as lightning-fabric names it. auto: with modes full and gradual, bf16-mixed "
        "where a trial finds it faster; else 32-true.",
    )
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
