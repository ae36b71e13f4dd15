"""What came of making a model int8, with every figure that decided it."""

import dataclasses
import math

import onnx

from tl_export.smaller.gates import Allowance
from tl_export.smaller.judged import ACCURACY, Loss, Metric
from tl_export.smaller.measure import Estimate
from tl_export.smaller.search import Attempt
from tl_infer.model.contract import ModelSpec


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one form of the model.

    Attributes:
        name: `fp32` or `int8`.
        size_bytes: of the file.
        ms: milliseconds per decoded image, one thread, median; preprocessing included.
        score: of the held-out images, 0..1.
        log_loss: of these images, nats.
        agreement: share of them with the same label as fp32, or of several, with all the same.
        metric: what the score is.

    """

    name: str
    size_bytes: int
    ms: float
    score: float
    log_loss: float
    agreement: float
    metric: Metric = ACCURACY


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class QuantizeResult:
    """What came of making a model int8.

    Attributes:
        model: the file to use: the int8 one, or the one that was given, unchanged.
        spec: of the int8 file, whether it was kept or not; temperature and thresholds are its own.
        objections: why int8 was refused; none where it was kept.
        reason: one line that says so, with the figures; it begins with `kept int8: ` or `kept fp32: `.
        fp32: of the file that was given.
        int8: of the int8 file that was judged, whether it was kept or not.
        speedup: how many times faster int8 is.
        loss: what int8 loses. The held-out images judged one file and chose nothing.
        pictures: how many held-out images were measured on; the others that judged are cross-fitted training images.
            The head was fitted without each of these, but they had a part in the ranges and the layers left in float.
        head: what became of the head.
        excluded: names of the nodes that stayed float to save the accuracy.
        attempts: the int8 networks that were tried on training images, in order; one of them was judged.

    """

    model: onnx.ModelProto
    spec: ModelSpec
    objections: tuple[str, ...]
    reason: str
    fp32: Measured
    int8: Measured
    speedup: Estimate
    loss: Loss
    pictures: int
    head: str
    excluded: tuple[str, ...]
    attempts: tuple[Attempt, ...]

    @property
    def kept(self) -> bool:
        """Whether the file is the int8 one."""
        return not self.objections

    def rows(self) -> tuple[Measured, Measured]:
        """Both forms, fp32 first."""
        return self.fp32, self.int8

    def document(self) -> dict[str, object]:
        """What goes into the parity file."""
        names = [field.name for field in dataclasses.fields(self) if field.name not in ("model", "spec")]
        found: dict[str, object] = {"kept": self.kept}
        found.update((name, _plain(getattr(self, name))) for name in names)
        return found

    def refused(self, model: onnx.ModelProto, why: str) -> "QuantizeResult":
        """The same, but with the float file kept after all, because the int8 one failed its proof."""
        figures = self.reason.removeprefix("kept int8: ")
        why_fp32 = f"kept fp32: int8 failed: {why}; {figures}"
        return dataclasses.replace(self, model=model, objections=(why,), reason=why_fp32)


def reason(result: QuantizeResult, allowance: Allowance) -> str:
    """One line: what was kept and every figure that decided it."""
    speed, loss, metric = result.speedup, result.loss, result.loss.metric
    joined = loss.pictures - result.pictures
    images = f"{result.pictures} held-out images" + (f" and {joined} cross-fitted training images" if joined else "")
    parts = [
        f"int8 is {speed.value:.2f} times as fast as fp32 (95% interval {speed.low:.2f} to {speed.high:.2f}, "
        f"{result.int8.ms:.2f} against {result.fp32.ms:.2f} ms) and "
        f"{result.fp32.size_bytes / result.int8.size_bytes:.2f} times smaller",
        f"on {images} it loses {_points(loss.score)} of {metric.name}, {allowance.max_drop * 100:g} allowed, and its "
        f"log-loss rises by {_nats(loss.log_loss)}, {allowance.log_loss(metric):g} allowed",
    ]
    if result.kept and allowance.gate != "strict":
        parts.append(f"a loss of up to {max(0.0, loss.score.high) * 100:.1f} points could go unseen on so many")
    parts.append(result.head)
    if result.excluded:
        parts.append(f"of {len(result.attempts)} tried, {len(result.excluded)} nodes left in float")
    why = "" if result.kept else f"{' and '.join(result.objections)}; "
    return f"kept {'int8' if result.kept else 'fp32'}: {why}{'; '.join(parts)}"


def _points(drop: Estimate) -> str:
    return f"{drop.value * 100:.2f} points (95% interval {drop.low * 100:.2f} to {drop.high * 100:.2f})"


def _nats(rise: Estimate) -> str:
    return f"{rise.value:.4f} ({rise.low:.4f} to {rise.high:.4f})"


def _plain(value: object) -> object:
    """For JSON: dataclasses as dicts, a score by the name of its metric; what is not known is null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = {field.name: field.name for field in dataclasses.fields(value)}
        if (metric := getattr(value, "metric", None)) is not None:
            del names["metric"]
            names["score"] = metric.key
        return {shown: _plain(getattr(value, name)) for name, shown in names.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
