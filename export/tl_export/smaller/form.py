"""The form in which a proven float32 file goes out: as it is, with float16 weights, or in int8 if that is as good."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import onnx
from torch import nn

from tl_export.errors import VerificationError
from tl_export.graph.network_part import spec_of
from tl_export.proof.precision import RULES, STORED, Precision
from tl_export.proof.proof import Proof
from tl_export.proof.routes import TorchRoute
from tl_export.proof.verify import verify
from tl_export.run_pictures import held_out_pictures, training_pictures
from tl_export.smaller.fp16 import store_weights_as_fp16
from tl_export.smaller.int8 import QuantizeResult, QuantizeSettings, quantize
from tl_train.progress import Progress


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """What is wanted.

    Attributes:
        precision: in what numbers the network is kept; int8 only if it passes its gates.
        max_drop: the accuracy that int8 may lose, as a share, 0..1.
        synthetic_golden: make the golden samples of patterns of ours, so that the file holds no copy of a picture.

    """

    precision: Precision = Precision.FP32
    max_drop: float = 0.005
    synthetic_golden: bool = False


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Formed:
    """What it became.

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

    def metrics(self) -> dict[str, float]:
        """What was measured of this form on held-out pictures, for the file's own metrics."""
        if self.int8 is None or not self.int8.kept:
            return {}
        return {"int8_accuracy": self.int8.int8.accuracy}

    def document(self) -> dict[str, object]:
        """What goes into the parity file."""
        document: dict[str, object] = {}
        if self.int8 is not None:
            document["int8"] = self.int8.document()
        if self.fp32_proof is not None:
            document["fp32"] = self.fp32_proof.document()
        return document


def give_form(
    file: onnx.ModelProto,
    form: Form,
    model: nn.Module,
    route: TorchRoute,
    run: Path,
    pictures: Sequence[Path],
    progress: Progress,
) -> Formed:
    """Give an assembled float32 file the form that is wanted, and prove it.

    Args:
        file: as `assemble` makes it, with the output `logits`.
        form: what is wanted.
        model: the trained network.
        route: of it.
        run: whose training pictures calibrate int8 and whose held-out pictures judge it.
        pictures: to verify on.
        progress: shows what goes on.

    Raises:
        TlError: the proof failed, or int8 has no pictures to be made or judged with.

    """
    spec = spec_of(file)

    def prove(candidate: onnx.ModelProto, precision: Precision) -> Proof:
        data = candidate.SerializeToString()
        return verify(model, spec, data, pictures, progress, rule=RULES[precision], route=route)

    if form.precision is Precision.FP16:
        halved = _named(store_weights_as_fp16(file), Precision.FP16)
        return Formed(halved, prove(halved, Precision.FP16))
    proof = prove(file, Precision.FP32)
    if form.precision is Precision.FP32:
        return Formed(file, proof)
    result = quantize(
        file,
        training_pictures(run, QuantizeSettings().calibration_pictures, progress),
        held_out_pictures(run),
        QuantizeSettings(max_drop=form.max_drop),
        progress,
    )
    if result.kept:
        try:
            small = _named(result.model, Precision.INT8)
            return Formed(small, prove(small, Precision.INT8), result, proof)
        except VerificationError as error:
            result = result.refused(file, str(error))
    return Formed(file, proof, result)


def _named(file: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """The file saying in its doc string how it is stored; changed in passing."""
    file.doc_string = f"{file.doc_string}; {STORED[precision]}"
    return file
