"""`quantize(model, ...)`: a finished file in int8, kept only if it passes its gates; the story on one page."""

import dataclasses
from collections.abc import Sequence

import onnx

from tl_export.errors import ExportError
from tl_export.run_pictures import LabelledPicture
from tl_export.smaller.gates import Estimate, accuracy, accuracy_drop, compare_speed, predicted_labels
from tl_export.smaller.search import Attempt, Candidate, Search
from tl_infer.images import load_image
from tl_infer.limits import DEFAULT_LIMITS, Limits
from tl_train.progress import Progress


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeSettings:
    """How int8 is made and judged.

    Attributes:
        max_drop: the accuracy that may be lost, as a share (0.005 is half a point), 0..1.
        calibration_pictures: how many training images the ranges are measured on, at most.
        sensitivity_pictures: how many of them the layers are ranked on.
        timing_rounds: how many pairs of runs are timed.
        timing_pictures: how many held-out images they use.
        limits: what decoding an image may take, and how 16-bit images are scaled, as in training.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.

    """

    max_drop: float
    calibration_pictures: int = 200
    sensitivity_pictures: int = 16
    timing_rounds: int = 60
    timing_pictures: int = 8
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= 1:
            raise ValueError(f"max_drop: found {self.max_drop}, expected 0 to 1, as a share")
        for name in ("calibration_pictures", "sensitivity_pictures", "timing_rounds", "timing_pictures"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: found {getattr(self, name)}, expected 1 or more")


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one form of the model.

    Attributes:
        name: `fp32` or `int8`.
        size_bytes: of the file.
        ms: milliseconds per decoded image, one thread, median; preprocessing included.
        accuracy: share of the held-out images classified right, 0..1.
        agreement: share of them with the same label as fp32.

    """

    name: str
    size_bytes: int
    ms: float
    accuracy: float
    agreement: float


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class QuantizeResult:
    """What came of making a model int8.

    Attributes:
        model: the file to use: the int8 one, or the one that was given, unchanged.
        kept: whether it is the int8 one.
        reason: one line that says so, with the figures; it begins with `kept int8: ` or `kept fp32: `.
        fp32: of the file that was given.
        int8: of the int8 file that was judged, whether it was kept or not.
        speedup: how many times faster int8 is.
        drop: accuracy lost, as a share. The held-out images judged one file and chose nothing.
        pictures: how many held-out images were measured on.
        excluded: names of the nodes that stayed float to save the accuracy.
        attempts: the int8 files that were tried on training images, in order; one of them was judged.

    """

    model: onnx.ModelProto
    kept: bool
    reason: str
    fp32: Measured
    int8: Measured
    speedup: Estimate
    drop: Estimate
    pictures: int
    excluded: tuple[str, ...]
    attempts: tuple[Attempt, ...]

    def rows(self) -> tuple[Measured, Measured]:
        """Both forms, fp32 first."""
        return self.fp32, self.int8

    def document(self) -> dict[str, object]:
        """What goes into the parity file."""
        document = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "model"
        }
        for name in ("fp32", "int8", "speedup", "drop"):
            document[name] = dataclasses.asdict(document[name])
        document["attempts"] = [dataclasses.asdict(attempt) for attempt in self.attempts]
        return document

    def refused(self, model: onnx.ModelProto, why: str) -> "QuantizeResult":
        """The same, but with the float file kept after all, because the int8 one failed its proof."""
        figures = self.reason.removeprefix("kept int8: ")
        return dataclasses.replace(self, model=model, kept=False, reason=f"kept fp32: int8 failed: {why}; {figures}")


def quantize(
    model: onnx.ModelProto,
    training: Sequence[LabelledPicture],
    held_out: Sequence[LabelledPicture],
    settings: QuantizeSettings,
    progress: Progress | None = None,
) -> QuantizeResult:
    """Make the network of a finished file int8, or keep the file where that loses accuracy or saves no time.

    Static quantization, weights signed and per channel, activations unsigned. Preprocessing, softmax, temperature and
    the heatmap stay float. Where accuracy is lost on training images, the most sensitive layers go back to float until
    it is not. The one file chosen this way is judged once, on the held-out images.

    Args:
        model: as `assemble` makes it; not changed.
        training: images that the model learned from, with their labels; they go through the file's own preprocessing.
        held_out: images that the model never saw, with their labels; both gates are measured on them.
        settings: how it is made and judged.
        progress: how to show what goes on; silent when None.

    Raises:
        TlError: no images, an image that cannot be read, or a network that onnxruntime cannot quantize.

    """
    if not training:
        raise ExportError("int8 needs training images to calibrate on, found none; export without --int8")
    if not held_out:
        raise ExportError("int8 needs held-out images to be judged on, found none; export without --int8")
    progress = progress or Progress()
    search = Search(model, training[: settings.calibration_pictures], settings.max_drop, progress)
    chosen = search.choose(settings.sensitivity_pictures)
    return _judge(model, chosen, search.attempts, held_out, settings)


def _judge(
    model: onnx.ModelProto,
    chosen: Candidate,
    attempts: Sequence[Attempt],
    held_out: Sequence[LabelledPicture],
    settings: QuantizeSettings,
) -> QuantizeResult:
    """Both gates, once, on one int8 file."""
    before, after = model.SerializeToString(), chosen.model.SerializeToString()
    pictures = [load_image(item.picture, settings.limits) for item in held_out[: settings.timing_pictures]]
    speed = compare_speed(before, after, pictures, settings.timing_rounds)
    old, new = (predicted_labels(file, held_out, settings.limits) for file in (before, after))
    drop = accuracy_drop(old, new, held_out)
    same = sum(one == other for one, other in zip(old, new, strict=True)) / len(held_out)
    kept = speed.ratio.low > 1 and drop.value <= settings.max_drop
    result = QuantizeResult(
        model=chosen.model if kept else model,
        kept=kept,
        reason="",
        fp32=Measured("fp32", len(before), speed.ms[0], accuracy(old, held_out), 1.0),
        int8=Measured("int8", len(after), speed.ms[1], accuracy(new, held_out), same),
        speedup=speed.ratio,
        drop=drop,
        pictures=len(held_out),
        excluded=chosen.excluded,
        attempts=tuple(attempts),
    )
    return dataclasses.replace(result, reason=_reason(result, settings.max_drop))


def _reason(result: QuantizeResult, max_drop: float) -> str:
    """One line: what was kept and every figure that decided it."""
    speed, size = result.speedup, result.fp32.size_bytes / result.int8.size_bytes
    figures = (
        f"int8 is {speed.value:.2f} times as fast as fp32 (95% interval {speed.low:.2f} to {speed.high:.2f}, "
        f"{result.int8.ms:.2f} against {result.fp32.ms:.2f} ms), {size:.2f} times smaller, and loses "
        f"{_points(result.drop)} of accuracy, {max_drop * 100:g} allowed ({result.int8.accuracy:.2%} against "
        f"{result.fp32.accuracy:.2%} on {result.pictures} images, same label on {result.int8.agreement:.2%})"
    )
    if 1 / result.pictures > max_drop > 0:
        figures += f"; with so few images a single one is {100 / result.pictures:.2f} points"
    if len(result.attempts) > 1:
        figures += f"; of {len(result.attempts)} tried, {len(result.excluded)} nodes left in float"
    return f"kept {'int8' if result.kept else 'fp32'}: {figures}"


def _points(drop: Estimate) -> str:
    return f"{drop.value * 100:.2f} points (95% interval {drop.low * 100:.2f} to {drop.high * 100:.2f})"
