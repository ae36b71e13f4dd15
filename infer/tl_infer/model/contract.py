"""The contract between the exported file and its callers: what the metadata key `tl.spec` holds.

The runtime owns it because strangers embed the runtime; training and export import it from here. Reading is strict:
a field that we do not know is named and the file refused, never interpreted.
"""

import collections
import dataclasses
import math
from collections.abc import Mapping
from typing import Literal, get_args

from tl_infer.errors import ModelFileError
from tl_infer.limits import FULL_DEPTH, MIN_DEPTH
from tl_infer.model.records import brief, read_metadata, since, to_metadata

# A file is written in the lowest version that has room for what it holds.
NEWEST_VERSION = 2
SPEC_KEY = "tl.spec"
BIT_DEPTH_KEY = "tl.bit_depth"  # only where 16-bit images are scaled from fewer bits
NAMES_KEY = "names"  # where other tools look for the classes; ours read `tl.spec`

INPUT_NAME = "image"
PROBABILITIES = "probabilities"
LOGITS = "logits"
EMBEDDING = "embedding"
HEATMAP = "heatmap"
FAMILIARITY = "familiarity"

Color = Literal["rgb", "gray"]
Fit = Literal["squash", "letterbox", "pad", "crop"]
Anchor = Literal["center", "top-left", "top-right", "bottom-left", "bottom-right"]
Resample = Literal["bilinear", "bicubic"]
Task = Literal["single", "multi"]

# Twice the share of the free rows and of the free columns that lies above and to the left of the image.
HALVES_BEFORE: Mapping[Anchor, tuple[int, int]] = {
    "center": (1, 1), "top-left": (0, 0), "top-right": (0, 2), "bottom-left": (2, 0), "bottom-right": (2, 2),
}  # fmt: skip

_BIT_DEPTHS = tuple(map(str, range(MIN_DEPTH, FULL_DEPTH)))

MAX_SIDE_PX = 4096
MAX_LABELS = 100_000

_PROBABILITY_DIFFERENCES = ("batch_difference", "unoptimized_difference", "independent_difference")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessSpec:
    """How an upright RGB image becomes the network's input; the graph in the file is built from this.

    Attributes:
        size: (height, width) of the network's input, pixels, each 1..4096.
        mean: per channel R, G, B on the 0..1 scale.
        std: likewise, above zero.
        color: `rgb`, or `gray`: luma as Pillow's mode "L", repeated to three channels.
        fit: `squash` ignores the aspect ratio; `letterbox` keeps it and pads the rest; `pad` does not enlarge;
            `crop` resizes the shorter side to `resize_px` and takes the centre.
        anchor: where the image lies on the canvas of `letterbox` and `pad`.
        fill: RGB of that canvas, each 0..255.
        resample: the interpolation of every resize, with antialiasing when shrinking.
        resize_px: the shorter side for `crop`, pixels; None for every other fit.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.

    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    color: Color = "rgb"
    fit: Fit = "squash"
    anchor: Anchor = "center"
    fill: tuple[int, int, int] = (0, 0, 0)
    resample: Resample = "bilinear"
    resize_px: int | None = None

    def __post_init__(self) -> None:
        _check(len(self.size) == 2, "size", self.size, "height and width")
        for side_px in self.size:
            _check(1 <= side_px <= MAX_SIDE_PX, "size", self.size, f"1 to {MAX_SIDE_PX} pixels a side")
        for name in ("mean", "std", "fill"):
            _check(len(getattr(self, name)) == 3, name, getattr(self, name), "three values")
        _check(all(map(math.isfinite, self.mean)), "mean", self.mean, "finite numbers")
        _check(all(math.isfinite(s) and s > 0 for s in self.std), "std", self.std, "finite numbers above zero")
        _check(all(0 <= v <= 255 for v in self.fill), "fill", self.fill, "values from 0 to 255")
        for name, kind in (("color", Color), ("fit", Fit), ("anchor", Anchor), ("resample", Resample)):
            allowed = get_args(kind)
            _check(getattr(self, name) in allowed, name, getattr(self, name), " or ".join(allowed))
        if self.fit == "crop":
            fits = self.resize_px is not None and max(self.size) <= self.resize_px <= MAX_SIDE_PX
            _check(fits, "resize_px", self.resize_px, f"{max(self.size)} to {MAX_SIDE_PX} with fit crop")
        else:
            _check(self.resize_px is None, "resize_px", self.resize_px, "nothing unless fit is crop")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ParitySummary:
    """What the export proved before it wrote the file: PyTorch against the real Classifier, on image files.

    Attributes:
        pictures: how many files were compared.
        top1_agreement: share of them with the same top-1 label, 0..1.
        max_probability_difference: the largest absolute difference of any probability.
        stages: stage -> the largest difference found there, in the unit that docs/model-file.md gives for it.
        tolerances: stage -> the largest difference allowed there.
        batch_difference: of any probability, several images in one call against one by one; None if not tried.
        unoptimized_difference: of any probability, with and without onnxruntime's graph optimisations; likewise.
        independent_difference: of any probability, against Pillow, torchvision's transforms and PyTorch; likewise.
            There is no tolerance for it.

    """

    pictures: int
    top1_agreement: float
    max_probability_difference: float
    stages: Mapping[str, float] = dataclasses.field(default_factory=dict)
    tolerances: Mapping[str, float] = dataclasses.field(default_factory=dict)
    batch_difference: float | None = None
    unoptimized_difference: float | None = None
    independent_difference: float | None = None

    def __post_init__(self) -> None:
        _check(self.pictures >= 0, "pictures", self.pictures, "zero or more")
        _check(0 <= self.top1_agreement <= 1, "top1_agreement", self.top1_agreement, "0 to 1")
        for name in ("max_probability_difference", *_PROBABILITY_DIFFERENCES):
            difference = getattr(self, name)
            _check(difference is None or 0 <= difference <= 1, name, difference, "0 to 1")
        for name in ("stages", "tolerances"):
            values = getattr(self, name)
            _check(all(value >= 0 for value in values.values()), name, values, "nothing below zero")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FamiliaritySpec:
    """What the output `familiarity` says: the share of held-back training images that are less familiar than this one.

    Attributes:
        unfamiliar_below: below this familiarity the model abstains, 0..1; so large a share of images like those of
            the training is rejected, too.
        images: how many held-back images it was measured on, one or more.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.

    """

    unfamiliar_below: float
    images: int

    def __post_init__(self) -> None:
        _check(0 <= self.unfamiliar_below <= 1, "unfamiliar_below", self.unfamiliar_below, "0 to 1")
        _check(self.images >= 1, "images", self.images, "one or more")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Everything a caller needs to know about a model file, as stored under `tl.spec`.

    Attributes:
        labels: class names in the order of the outputs' last axis; unique, none blank.
        preprocess: what the graph does before the network.
        architecture: the network's name.
        weights: what it started from.
        temperature: the logits are divided by this before the softmax; above zero. 1 with several labels.
        abstain_below: below this top probability the model abstains; None if it never does.
        data_fingerprint: SHA-256 (hex) over the images and labels of the training data.
        versions: library -> version that made the file.
        metrics: name -> value measured on held-out images.
        parity: what the export proved; None if the spec is not that of an exported file.
        familiarity: of the output of that name (version 2); None for a file without it.
        task: `single`, one label per image, or `multi` (version 2), any number of them: the probabilities are then
            sigmoids, each of its own label, and do not sum to 1.
        thresholds: of each label (task `multi`): an image has the label from this probability on, 0..1.
        temperatures: of each label (task `multi`): its logit is divided by this before the sigmoid; above zero.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.

    """

    labels: tuple[str, ...]
    preprocess: PreprocessSpec
    architecture: str
    weights: str
    temperature: float = 1.0
    abstain_below: float | None = None
    data_fingerprint: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    parity: ParitySummary | None = None
    familiarity: FamiliaritySpec | None = since(2)
    task: Task = since(2, "single")
    thresholds: tuple[float, ...] | None = since(2)
    temperatures: tuple[float, ...] | None = since(2)

    def __post_init__(self) -> None:
        _check(2 <= len(self.labels) <= MAX_LABELS, "labels", len(self.labels), f"2 to {MAX_LABELS} labels")
        blank = [label for label in self.labels if not label.strip()]
        _check(not blank, "labels", blank, "no empty label")
        if len(set(self.labels)) < len(self.labels):
            twice = collections.Counter(self.labels).most_common(1)[0][0]
            _check(False, "labels", twice, "no label twice")
        positive = math.isfinite(self.temperature) and self.temperature > 0
        _check(positive, "temperature", self.temperature, "a finite number above zero")
        below = self.abstain_below
        _check(below is None or 0 <= below <= 1, "abstain_below", below, "0 to 1, or null")
        _check(self.task in get_args(Task), "task", self.task, " or ".join(get_args(Task)))
        if self.task == "multi":
            self._check_several()
        else:
            for name in ("thresholds", "temperatures"):
                _check(getattr(self, name) is None, name, getattr(self, name), "nothing with task single")

    def _check_several(self) -> None:
        count = len(self.labels)
        for name in ("thresholds", "temperatures"):
            _check(len(getattr(self, name) or ()) == count, name, getattr(self, name), f"{count} values, one per label")
        _check(
            all(0 <= value <= 1 for value in self.thresholds or ()), "thresholds", self.thresholds, "values of 0 to 1"
        )
        above = all(math.isfinite(value) and value > 0 for value in self.temperatures or ())
        _check(above, "temperatures", self.temperatures, "finite numbers above zero")
        _check(self.temperature == 1, "temperature", self.temperature, "1 with task multi, which has temperatures")
        _check(self.abstain_below is None, "abstain_below", self.abstain_below, "null with task multi")

    def to_json(self) -> str:
        """The text to store under `tl.spec`; the same spec always gives the same text."""
        return to_metadata(self)

    @staticmethod
    def from_json(text: str) -> "ModelSpec":
        """The spec in the metadata of a model file.

        Raises:
            ModelFileError: not JSON, another version, or a field, which the message names, is missing, unknown, of the
                wrong type or out of range.

        """
        return read_metadata(ModelSpec, text, SPEC_KEY, NEWEST_VERSION)


def _check(holds: bool, field: str, found: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"{field}: found {brief(found)}, expected {expected}")


def read_bit_depth(metadata: Mapping[str, str]) -> int | None:
    """The bits that images of 16 bits a channel use, if the file says so; see `Limits.bit_depth`.

    Raises:
        ModelFileError: it says something else.

    """
    text = metadata.get(BIT_DEPTH_KEY)
    if text is not None and text not in _BIT_DEPTHS:
        raise ModelFileError(f"{BIT_DEPTH_KEY}: found {brief(text)}, expected {_BIT_DEPTHS[0]} to {_BIT_DEPTHS[-1]}")
    return None if text is None else int(text)
