"""`quantize(model, ...)`: a finished file in int8, kept only if it passes its gates; the story on one page."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import onnx

from tl_export.errors import ExportError
from tl_export.gates import Estimate, LabelledPicture, Speed, accuracy, accuracy_drop, compare_speed, predicted_labels
from tl_export.qdq import QuantizableNetwork
from tl_export.sensitivity import Layer, rank_layers
from tl_export.splice import network_part, spec_of, with_network
from tl_infer.images import ImageSource, Pixels, load_image
from tl_train.preprocess import Preprocessor
from tl_train.progress import Progress

# Each further try leaves about half as many layers again in float: few tries, and few layers too many.
_MORE_LAYERS = 1.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeSettings:
    """How int8 is made and judged.

    Attributes:
        max_drop: the accuracy that may be lost, as a share (0.005 is half a point), 0..1.
        calibration_pictures: how many training pictures the ranges are measured on, at most.
        sensitivity_pictures: how many of them the layers are ranked on.
        timing_rounds: pairs of runs that the speed is measured with.
        timing_pictures: how many held-out pictures they go through.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.

    """

    max_drop: float = 0.005
    calibration_pictures: int = 200
    sensitivity_pictures: int = 16
    timing_rounds: int = 60
    timing_pictures: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= 1:
            raise ValueError(f"max_drop: found {self.max_drop}, expected 0 to 1, as a share")
        for name in ("calibration_pictures", "sensitivity_pictures", "timing_rounds", "timing_pictures"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: found {getattr(self, name)}, expected 1 or more")


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """One form of the model.

    Attributes:
        size_bytes: of the file.
        ms: milliseconds per decoded picture, one thread, median; preprocessing included.
        accuracy: share of the held-out pictures classified right, 0..1.

    """

    size_bytes: int
    ms: float
    accuracy: float


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class QuantizeResult:
    """What came of it.

    Attributes:
        model: the file to use: in int8, or the one that was given, unchanged.
        kept: whether it is the int8 one.
        reason: one line that says so, with the figures; it begins with `kept int8: ` or `kept fp32: `.
        fp32: of the file that was given.
        int8: of the int8 file that was judged last, whether it was kept or not.
        speedup: how many times faster int8 is.
        drop: accuracy lost, as a share. When `attempts` is above one the pictures also chose among that many files, so
            the interval is a little too good.
        agreement: share of the held-out pictures that both give the same label.
        pictures: how many held-out pictures were measured on.
        excluded: names of the nodes that stayed float to save the accuracy.
        attempts: how many int8 files were judged.

    """

    model: onnx.ModelProto
    kept: bool
    reason: str
    fp32: Measured
    int8: Measured
    speedup: Estimate
    drop: Estimate
    agreement: float
    pictures: int
    excluded: tuple[str, ...]
    attempts: int

    def table(self) -> str:
        """Both forms side by side, as aligned lines for a terminal."""
        lines = [f"{'':6}{'MB':>8}{'ms':>8}{'accuracy':>10}{'agreement':>11}"]
        for name, found, agreement in (("fp32", self.fp32, 1.0), ("int8", self.int8, self.agreement)):
            lines.append(
                f"{name:6}{found.size_bytes / 1e6:>8.1f}{found.ms:>8.2f}{found.accuracy:>10.2%}{agreement:>11.2%}"
            )
        return "\n".join([*lines, self.reason])


def quantize(
    model: onnx.ModelProto,
    calibration: Sequence[ImageSource],
    held_out: Sequence[LabelledPicture],
    settings: QuantizeSettings | None = None,
    progress: Progress | None = None,
) -> QuantizeResult:
    """Make the network of a finished file int8, or keep the file where that loses accuracy or wins no time.

    Static, weights per channel, activations unsigned, weights signed. Preprocessing, softmax, temperature and the
    heatmap stay float. Where accuracy is lost, the layers that suffer most go back to float until it is not.

    Args:
        model: as `assemble` makes it; not changed.
        calibration: training pictures; they go through the file's own preprocessing.
        held_out: pictures that the model never saw, with their labels; both gates are measured on them.
        settings: how it is made and judged.
        progress: how to show what goes on; silent when None.

    Raises:
        TlError: no pictures, a picture that cannot be read, or a network that onnxruntime cannot quantize.

    """
    if not calibration:
        raise ExportError("int8 needs training pictures to calibrate on, found none; export without --int8")
    if not held_out:
        raise ExportError("int8 needs held-out pictures to be judged on, found none; export without --int8")
    settings, progress = settings or QuantizeSettings(), progress or Progress()
    pictures = [load_image(picture) for picture in calibration[: settings.calibration_pictures]]
    network = _calibrated(model, pictures, progress)
    judge = _Judge(model, held_out, settings)
    trial = judge.measure(network, ())
    attempts = 1
    if trial.is_faster and not judge.accepts(trial):
        ranked = rank_layers(model, network, pictures[: settings.sensitivity_pictures], progress)
        for layers in _growing(ranked):
            progress.note(f"int8 loses {_points(trial.drop)}; trying {len(layers)} of {len(ranked)} layers in float")
            trial = judge.measure(network, tuple(name for layer in layers for name in layer))
            attempts += 1
            if not trial.is_faster or judge.accepts(trial):
                break
    return judge.result(trial, attempts)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """One int8 file, measured; where it is not faster, its accuracy decides nothing more."""

    model: onnx.ModelProto
    size_bytes: int
    labels: Sequence[str]
    speed: Speed
    drop: Estimate
    excluded: tuple[str, ...]

    @property
    def is_faster(self) -> bool:
        return self.speed.ratio.low > 1


class _Judge:
    """Measures int8 files against the float one on the same held-out pictures."""

    def __init__(self, model: onnx.ModelProto, held_out: Sequence[LabelledPicture], settings: QuantizeSettings) -> None:
        self._model, self._held_out, self._settings = model, held_out, settings
        self._data = model.SerializeToString()
        self._labels = predicted_labels(self._data, held_out)

    def measure(self, network: QuantizableNetwork, excluded: tuple[str, ...]) -> _Trial:
        model = with_network(self._model, network.int8(excluded))
        data = model.SerializeToString()
        pictures = [item.picture for item in self._held_out[: self._settings.timing_pictures]]
        speed = compare_speed(self._data, data, pictures, self._settings.timing_rounds)
        labels = predicted_labels(data, self._held_out)
        drop = accuracy_drop(self._labels, labels, self._held_out)
        return _Trial(model, len(data), labels, speed, drop, excluded)

    def accepts(self, trial: _Trial) -> bool:
        return trial.is_faster and trial.drop.value <= self._settings.max_drop

    def result(self, trial: _Trial, attempts: int) -> QuantizeResult:
        kept = self.accepts(trial)
        same = sum(one == other for one, other in zip(self._labels, trial.labels, strict=True))
        result = QuantizeResult(
            model=trial.model if kept else self._model,
            kept=kept,
            reason="",
            fp32=Measured(len(self._data), trial.speed.ms[0], accuracy(self._labels, self._held_out)),
            int8=Measured(trial.size_bytes, trial.speed.ms[1], accuracy(trial.labels, self._held_out)),
            speedup=trial.speed.ratio,
            drop=trial.drop,
            agreement=same / len(self._held_out),
            pictures=len(self._held_out),
            excluded=trial.excluded,
            attempts=attempts,
        )
        return dataclasses.replace(result, reason=_reason(result, self._settings.max_drop))


def _calibrated(model: onnx.ModelProto, pictures: Sequence[Pixels], progress: Progress) -> QuantizableNetwork:
    preprocess = Preprocessor(spec_of(model).preprocess)
    steps = progress.steps(pictures, "Calibrating int8", len(pictures))
    return QuantizableNetwork(network_part(model), (preprocess(pixels) for pixels in steps))


def _growing(ranked: Sequence[Layer]) -> Iterator[Sequence[Layer]]:
    """The first layers of the ranking, more each time; never all, which would be the float file again."""
    count = 1
    while count < len(ranked):
        yield ranked[:count]
        count = math.ceil(count * _MORE_LAYERS)


def _reason(result: QuantizeResult, max_drop: float) -> str:
    """One line: what was kept and every figure that decided it."""
    speed, size = result.speedup, result.fp32.size_bytes / result.int8.size_bytes
    figures = (
        f"int8 is {speed.value:.2f} times as fast as fp32 (95% interval {speed.low:.2f} to {speed.high:.2f}, "
        f"{result.int8.ms:.2f} against {result.fp32.ms:.2f} ms), {size:.2f} times smaller, and loses "
        f"{_points(result.drop)} of accuracy, {max_drop * 100:g} allowed ({result.int8.accuracy:.2%} against "
        f"{result.fp32.accuracy:.2%} on {result.pictures} pictures, same label on {result.agreement:.2%})"
    )
    if 1 / result.pictures > max_drop > 0:
        figures += f"; with so few pictures a single one is {100 / result.pictures:.2f} points"
    if result.excluded:
        figures += f", with {len(result.excluded)} nodes left in float"
    return f"kept {'int8' if result.kept else 'fp32'}: {figures}"


def _points(drop: Estimate) -> str:
    return f"{drop.value * 100:.2f} points (95% interval {drop.low * 100:.2f} to {drop.high * 100:.2f})"
