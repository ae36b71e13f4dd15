"""The form in which a proven float32 file is written: as it is, with float16 weights, or in int8 if that is as good."""

import dataclasses
from pathlib import Path

import onnx

from tl_export.errors import VerificationError
from tl_export.options import Precision
from tl_export.proof.precision import RULES, STORED
from tl_export.proof.proof import Proof
from tl_export.proof.trained import Trained
from tl_export.proof.verify import verify
from tl_export.run_pictures import RunImages
from tl_export.smaller.fp16 import store_weights_as_fp16
from tl_export.smaller.gates import Allowance
from tl_export.smaller.int8 import QuantizeSettings, quantize
from tl_export.smaller.int8_result import QuantizeResult
from tl_export.smaller.judged import own_metrics
from tl_infer.model.contract import ModelSpec
from tl_train.progress import Progress
from tl_train.run.head_again import head_problem_of


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Formed:
    """A proven file.

    Attributes:
        file: the file.
        proof: of this very graph.
        int8: what came of int8; None when it was not asked for.
        fp32_proof: of the float32 file that the int8 one was made from; None when that is the file.

    """

    file: onnx.ModelProto
    proof: Proof
    int8: QuantizeResult | None = None
    fp32_proof: Proof | None = None

    def spec(self, trained: ModelSpec) -> ModelSpec:
        """What this form says of itself; a head that was fitted again has its own temperatures and thresholds."""
        if self.int8 is None or not self.int8.kept:
            return trained
        own = self.int8.spec
        return dataclasses.replace(
            trained,
            temperature=own.temperature,
            abstain_below=own.abstain_below,
            temperatures=own.temperatures,
            thresholds=own.thresholds,
        )

    def metrics(self) -> dict[str, float]:
        """What was measured of this form on held-out images, for the file's own metrics."""
        if self.int8 is None or not self.int8.kept:
            return {}
        measured = self.int8.int8
        return own_metrics(measured.metric, measured.score, measured.log_loss)

    def document(self, run: Path) -> dict[str, object]:
        """What goes into the parity file; images inside `run` are named relative to it."""
        document: dict[str, object] = {}
        if self.int8 is not None:
            document["int8"] = self.int8.document()
        if self.fp32_proof is not None:
            document["fp32"] = self.fp32_proof.document(run)
        return document


def give_form(
    file: onnx.ModelProto, precision: Precision, trained: Trained, progress: Progress, allowance: Allowance
) -> Formed:
    """Store an assembled float32 file as it is asked for, and prove it.

    Args:
        file: as `assemble` makes it, with the output `logits`.
        precision: how the network is to be stored; int8 only if it passes its gate.
        trained: what the file is proven against. The run's training images calibrate int8, its held-out images judge
            it.
        progress: shows what goes on.
        allowance: what int8 may cost.

    Raises:
        TlError: the proof failed, or int8 has no images to be calibrated or judged on.

    """
    if precision is Precision.FP16:
        halved = _described(store_weights_as_fp16(file), precision)
        return Formed(halved, _proof(halved, precision, trained, progress))
    plain = Formed(file, _proof(file, Precision.FP32, trained, progress))
    return plain if precision is Precision.FP32 else _int8_or(plain, trained, progress, allowance)


def _int8_or(plain: Formed, trained: Trained, progress: Progress, allowance: Allowance) -> Formed:
    """The file in int8, or the float one where int8 fails its gate or its proof."""
    settings = QuantizeSettings(allowance=allowance, limits=trained.route.limits)
    images = RunImages.load(trained.run, trained.spec, progress)
    problem = head_problem_of(trained.run, images.dataset, trained.route.architecture, progress)
    result = quantize(plain.file, images, problem, settings, progress)
    if result.kept:
        try:
            small = _described(result.model, Precision.INT8)
            return Formed(small, _proof(small, Precision.INT8, trained, progress), result, plain.proof)
        except VerificationError as error:
            result = result.refused(plain.file, str(error))
    return dataclasses.replace(plain, int8=result)


def _proof(file: onnx.ModelProto, precision: Precision, trained: Trained, progress: Progress) -> Proof:
    return verify(trained, file.SerializeToString(), progress, RULES[precision])


def _described(file: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """The file with a doc string that says how it is stored; modified in place."""
    file.doc_string = f"{file.doc_string}; {STORED[precision]}"
    return file
