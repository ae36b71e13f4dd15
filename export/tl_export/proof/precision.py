"""In what numbers a file keeps its network, and how far from the trained model that may take it."""

import dataclasses
import enum
from collections.abc import Mapping

import onnx
from onnx import TensorProto

from tl_export.proof.stages import DECODE, LABEL, TENSOR, TOLERANCES
from tl_export.smaller.fp16 import (
    FP16_MAX_EMBEDDING_DIFFERENCE,
    FP16_MAX_HEATMAP_DIFFERENCE,
    FP16_MAX_PROBABILITY_DIFFERENCE,
)
from tl_infer.model.contract import EMBEDDING, HEATMAP, PROBABILITIES


class Precision(enum.StrEnum):
    """How a file keeps its network; the value is how reports call it."""

    FP32 = "fp32"
    FP16 = "fp16-weights"
    INT8 = "int8"


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """What the proof allows.

    Attributes:
        precision: of the files that it is for.
        tolerances: stage -> largest difference allowed; a stage that is not named is measured and decides nothing.
        self_difference: largest difference of any probability between ways to run the same file.
        min_agreement: the share of pictures with the same top-1 that its 95% interval has to reach, 0..1.
        golden_tolerance: of the golden samples, at most, where the runtime alone does not ask for more.
        noise_margin: they allow at least this many times what harmless changes of the runtime do.

    """

    precision: Precision
    tolerances: Mapping[str, float]
    self_difference: float
    min_agreement: float = 0.0
    golden_tolerance: float = 0.01
    noise_margin: int = 10


_FP16_TOLERANCES = {
    DECODE: TOLERANCES[DECODE],
    TENSOR: TOLERANCES[TENSOR],
    EMBEDDING: FP16_MAX_EMBEDDING_DIFFERENCE,
    HEATMAP: FP16_MAX_HEATMAP_DIFFERENCE,
    PROBABILITIES: FP16_MAX_PROBABILITY_DIFFERENCE,
    # Two probabilities that may each move by the tolerance change places only where they were closer than twice that.
    LABEL: 2 * FP16_MAX_PROBABILITY_DIFFERENCE,
}

# 8 bits move the answers of single pictures by more than any fault could be told from, so behind the preprocessing,
# which stays as it was, the labels decide: their agreement here, their accuracy in `gates`.
INT8_MIN_AGREEMENT = 0.9

# With the runtime's optimisations off int8 is computed in float32, which rounds some values the other way, by one of
# 256 steps: up to 0.023 of probability on 65 pictures (Lite0, 2 classes).
INT8_MAX_SELF_DIFFERENCE = 0.1
# Other processors have other instructions for int8, so what this one does with the optimisations off stands for them.
_INT8_GOLDEN_TOLERANCE = 0.05
_INT8_NOISE_MARGIN = 3

# One grey level on a few pixels moved a probability of a network with 1000 classes by up to 0.0125, so a machine that
# rounds a tie the other way is let off with the 0.01 of float files, and no more.
RULES: Mapping[Precision, Rule] = {
    Precision.FP32: Rule(Precision.FP32, TOLERANCES, TOLERANCES[PROBABILITIES]),
    # The same float16 weights either way, so as far from itself as a float32 file.
    Precision.FP16: Rule(Precision.FP16, _FP16_TOLERANCES, TOLERANCES[PROBABILITIES]),
    Precision.INT8: Rule(
        Precision.INT8,
        {DECODE: TOLERANCES[DECODE], TENSOR: TOLERANCES[TENSOR]},
        INT8_MAX_SELF_DIFFERENCE,
        INT8_MIN_AGREEMENT,
        _INT8_GOLDEN_TOLERANCE,
        _INT8_NOISE_MARGIN,
    ),
}


STORED: Mapping[Precision, str] = {
    Precision.FP32: "float32",
    Precision.FP16: "float32, with large weights stored as float16",
    Precision.INT8: "int8, its preprocessing and its last step in float32",
}


def precision_of(model: onnx.ModelProto) -> Precision:
    """What the graph itself shows; metadata could say anything."""
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return Precision.INT8
    if any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer):
        return Precision.FP16
    return Precision.FP32
