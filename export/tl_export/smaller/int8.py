"""`quantize(model, ...)`: a finished file in int8, kept only if it passes its gate; the story on one page."""

import dataclasses

import onnx

from tl_export.errors import ExportError
from tl_export.graph.assemble import set_spec, set_temperature
from tl_export.graph.network_part import network_part, spec_of, with_network
from tl_export.run_pictures import RunImages
from tl_export.smaller.compact import compact
from tl_export.smaller.gates import Allowance
from tl_export.smaller.held_out import HeldOutAnswers, held_out_answers
from tl_export.smaller.inputs import NetworkInputs
from tl_export.smaller.int8_result import Measured, QuantizeResult, reason
from tl_export.smaller.judged import Judged, judge, loss_between
from tl_export.smaller.qdq import QuantizableNetwork
from tl_export.smaller.refit import HeadRefit, Problem, Refitted
from tl_export.smaller.search import Candidate, Search
from tl_export.smaller.speed import compare_speed
from tl_infer.images import load_image
from tl_infer.limits import DEFAULT_LIMITS, Limits
from tl_train.data.samples import truth_of
from tl_train.progress import Progress

# A loss that held-out images could miss, as a share; above it, cross-fitted training images join them.
_WIDE = 0.02


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeSettings:
    """How int8 is made and judged.

    Attributes:
        allowance: what may be lost, and what has to be shown of it.
        calibration_pictures: how many training images the ranges are measured on, at most; and no more than half.
        compared_pictures: how many others of them int8 networks are compared on, at most.
        sensitivity_pictures: how many of these the layers are ranked on.
        timing_rounds: how many pairs of runs are timed.
        timing_pictures: how many held-out images they use.
        limits: what decoding an image may take, and how 16-bit images are scaled, as in training.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.

    """

    allowance: Allowance
    calibration_pictures: int = 200
    compared_pictures: int = 1000
    sensitivity_pictures: int = 16
    timing_rounds: int = 60
    timing_pictures: int = 8
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self)[1:-1]:
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name}: found {getattr(self, field.name)}, expected 1 or more")


def quantize(
    model: onnx.ModelProto,
    images: RunImages,
    problem: Problem | None,
    settings: QuantizeSettings,
    progress: Progress | None = None,
) -> QuantizeResult:
    """Make the network of a finished file int8, or keep the file where that loses too much or saves no time.

    Static quantization, weights signed and per channel, activations unsigned. Preprocessing, head, softmax or
    sigmoid, and the heatmap stay float. Where training images show a loss, the most sensitive layers go back to float
    until they do not. Then the head is fitted again on what the int8 network computes. The one file made this way is
    judged once.

    Args:
        model: as `assemble` makes it; not changed.
        images: of the run that it was made from.
        problem: what the run's head is the solution of; None where that was not on the features of a frozen backbone.
        settings: how it is made and judged.
        progress: how to show what goes on; silent when None.

    Raises:
        TlError: too few images, an image that cannot be read, or a network that onnxruntime cannot quantize.

    """
    progress = progress or Progress()
    spec = spec_of(model)
    network, training = _calibrated(model, images, settings, progress)
    search = Search(network, training, settings.allowance, spec, progress)
    chosen = search.choose(settings.sensitivity_pictures)
    refit = HeadRefit(images, spec, problem, progress)
    refitted = refit(network.float32, chosen.network)
    int8 = compact(with_network(model, refitted.network))
    set_spec(int8, refitted.spec, bit_depth=settings.limits.bit_depth)
    set_temperature(int8, refitted.spec)
    return _Trial(model, int8, network, chosen, refitted).judged(images, refit, search, settings, progress)


def _calibrated(
    model: onnx.ModelProto, images: RunImages, settings: QuantizeSettings, progress: Progress
) -> tuple[QuantizableNetwork, NetworkInputs]:
    """The network with its ranges measured, and the training images that had no part in that."""
    samples = images.training(settings.calibration_pictures + settings.compared_pictures)
    if len(samples) < 2:
        raise ExportError(f"int8 needs 2 training images or more, found {len(samples)}; export without --int8")
    if not any(picture.labels for picture in images.held_out):
        raise ExportError("int8 needs held-out images to be judged on, found none with a label; export without --int8")
    inputs = NetworkInputs.of(samples, spec_of(model).preprocess, progress)
    count = min(settings.calibration_pictures, len(samples) // 2)
    steps = progress.steps((inputs[place] for place in range(count)), "Calibrating int8", count)
    return QuantizableNetwork(network_part(model), steps), inputs.part(count)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """An int8 file that is judged, and how it came about."""

    float32: onnx.ModelProto
    int8: onnx.ModelProto
    network: QuantizableNetwork
    chosen: Candidate
    refitted: Refitted

    def judged(
        self, images: RunImages, refit: HeadRefit, search: Search, settings: QuantizeSettings, progress: Progress
    ) -> QuantizeResult:
        """What came of it."""
        before, after = self.float32.SerializeToString(), self.int8.SerializeToString()
        pictures = [load_image(item.picture, settings.limits) for item in images.held_out[: settings.timing_pictures]]
        speed = compare_speed(before, after, pictures, settings.timing_rounds)
        old, new = (held_out_answers(file, images.held_out, settings.limits) for file in (before, after))
        loss = loss_between(old.judged, new.judged, progress)
        if loss.score.high > _WIDE and (more := self._cross_fitted(images, refit)):
            loss = loss_between(old.judged.joined(more[0]), new.judged.joined(more[1]), progress)
        objections = settings.allowance.objections(loss, speed)
        result = QuantizeResult(
            model=self.float32 if objections else self.int8,
            spec=self.refitted.spec,
            objections=tuple(objections),
            reason="",
            fp32=_measured("fp32", before, speed.ms[0], old, old),
            int8=_measured("int8", after, speed.ms[1], new, old),
            speedup=speed.ratio,
            loss=loss,
            pictures=len(images.held_out),
            head=self.refitted.how,
            excluded=self.chosen.excluded,
            attempts=tuple(search.attempts),
        )
        return dataclasses.replace(result, reason=reason(result, settings.allowance))

    def _cross_fitted(self, images: RunImages, refit: HeadRefit) -> tuple[Judged, Judged] | None:
        """Both forms' answers to the training images, each of a head that was fitted without it."""
        if self.refitted.cross_fitted is None:
            return None
        expected = refit.cross_fitted(self.network.float32)
        assert expected is not None, "both forms have heads of one kind"
        truth = truth_of(images.dataset.train)
        return (
            judge(expected, truth, spec_of(self.float32)),
            judge(self.refitted.cross_fitted, truth, self.refitted.spec),
        )


def _measured(name: str, file: bytes, ms: float, found: HeldOutAnswers, float32: HeldOutAnswers) -> Measured:
    judged = found.judged
    return Measured(name, len(file), ms, judged.score, found.log_loss, found.agreement(float32), judged.metric)
