"""What the network gets, which network it is, and how its head is fitted."""

import dataclasses

from tl_infer.model.contract import MAX_SIDE_PX, Anchor, Color, Fit, Resample
from tl_train.config.choices import (
    MIN_SIDE_PX,
    ClassWeights,
    HeadFit,
    HeadKind,
    Mode,
    parse_color,
    parse_sides,
)
from tl_train.config.options import check, check_types, option
from tl_train.errors import ConfigError


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
        named = any(name.strip() for name in self.arch.split(","))
        check(named, "arch", self.arch, "a name, several with commas between them, or auto")
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
        "cross-validation; further training starts from it, and has defaults of its own.",
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
