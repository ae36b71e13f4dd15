"""What the proof allows a file of each precision, and what precision a file has."""

import dataclasses
from collections.abc import Mapping

import onnx
from onnx import TensorProto

from tl_export.graph.network_part import leads_to
from tl_export.options import Precision
from tl_export.proof.stages import DECODE, LABEL, TENSOR, TOLERANCES
from tl_infer.model.contract import EMBEDDING, FAMILIARITY, HEATMAP, PROBABILITIES


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What the proof allows.

    Attributes:
        precision: of the files that it is for.
        tolerances: stage -> largest difference allowed; a stage that is not named is reported only.
        self_difference: largest difference of any probability between ways to run the same file.
        min_agreement: the share of the labels given to the images that are the same (of one label per image, the images
            with the same top-1), which its 95% interval has to reach, 0..1.
        golden_tolerance: of the golden samples, at most, where the runtime alone does not ask for more.
        noise_margin: they allow at least this many times what harmless changes of the runtime do.
        familiarity_tolerance: of the familiarity of the golden samples; a grey level here and there, or another
            instruction, may carry an image past a few hundredths of the held-back ones.
        heatmap_mean: how far the heatmap's mean may be from the logits, as a share of the largest of them or 1.
        on_half: stage -> the difference that half of the images must not exceed, as far as they can show that.

    """

    precision: Precision
    tolerances: Mapping[str, float]
    self_difference: float
    min_agreement: float = 0.0
    golden_tolerance: float = 0.01
    noise_margin: int = 10
    familiarity_tolerance: float = 0.05
    heatmap_mean: float = TOLERANCES[HEATMAP]
    on_half: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def most_golden_tolerance(self) -> float:
        """The widest tolerance of golden samples that an export can have given a file."""
        return max(self.golden_tolerance, self.noise_margin * self.self_difference)


# How far a probability of a file with float16 weights may be from the trained float32 model's. Rounding to float16
# moves a weight by at most 2^-11 of itself. On 130 images that moved a probability by up to 0.0018 (Lite0, 1000
# classes; 0.0012 with 2 classes) and changed no top-1; this is under three times as much, and a real fault (a wrong
# mean, swapped channels) moves it by 0.01 and more.
FP16_MAX_PROBABILITY_DIFFERENCE = 5e-3
# Likewise of the embedding and the heatmap, as a share of their largest value: up to 0.0032 and 0.0095 on 65 images
# (Lite0, 2 classes). The same share of an image's logits says nothing: where classes are close, all may be small.
FP16_MAX_EMBEDDING_DIFFERENCE = 0.02
FP16_MAX_HEATMAP_DIFFERENCE = 0.05
# A hundredth of the held-back images lies between two scores, and rounding may carry an image past a few of them.
FP16_MAX_FAMILIARITY_DIFFERENCE = 0.05

_FP16_TOLERANCES = {
    DECODE: TOLERANCES[DECODE],
    TENSOR: TOLERANCES[TENSOR],
    EMBEDDING: FP16_MAX_EMBEDDING_DIFFERENCE,
    HEATMAP: FP16_MAX_HEATMAP_DIFFERENCE,
    PROBABILITIES: FP16_MAX_PROBABILITY_DIFFERENCE,
    FAMILIARITY: FP16_MAX_FAMILIARITY_DIFFERENCE,
    # Two probabilities that may each move by the tolerance change places only where they were closer than twice that.
    LABEL: 2 * FP16_MAX_PROBABILITY_DIFFERENCE,
}

# Where the heatmap has weights of its own, behind an appended head, they are rounded apart from the head's: 3.5e-4
# (Lite0 on cats-dogs). Where it has the head's, it is the same in every precision: up to 2e-7.
_FP16_HEATMAP_MEAN = 0.01

# 8 bits move the answers on single images by more than any fault could be told from, so behind the preprocessing,
# which stays in float, the labels decide: their agreement here, their accuracy in `gates`.
_INT8_MIN_AGREEMENT = 0.9
# A network of 8 bits is still the run's. Of 24 int8 files (Lite0; cats-dogs, clothing, digits, hymenoptera) the means
# over the images were up to 0.113 of the embedding, 0.035 of probability and 0.053 of familiarity: three times these.
_INT8_ON_HALF = {EMBEDDING: 0.35, PROBABILITIES: 0.1, FAMILIARITY: 0.15}
# An appended head has a linear layer in int8, which the heatmap has in float: 0.01 (Lite0 on cats-dogs).
_INT8_HEATMAP_MEAN = 0.05
# With the runtime's optimisations off int8 is computed in float32, which rounds some values the other way, by one of
# 256 steps: up to 0.023 of probability on 65 images (Lite0, 2 classes).
_INT8_MAX_SELF_DIFFERENCE = 0.1
# Other processors have other instructions for int8, so what this one does with the optimisations off stands for them.
_INT8_GOLDEN_TOLERANCE = 0.05
_INT8_NOISE_MARGIN = 3
# Four times the largest mean between int8 and float32, see above; two processors' int8 should be nearer to each other.
_INT8_FAMILIARITY_TOLERANCE = 0.2

# One grey level on a few pixels moved a probability of a network with 1000 classes by up to 0.0125, so a machine that
# rounds a tie the other way is granted the golden tolerance of float files, 0.01, and no more.
RULES: Mapping[Precision, Rule] = {
    Precision.FP32: Rule(
        precision=Precision.FP32,
        tolerances=TOLERANCES,
        self_difference=TOLERANCES[PROBABILITIES],
    ),
    Precision.FP16: Rule(
        precision=Precision.FP16,
        tolerances=_FP16_TOLERANCES,
        # The same float16 weights either way, so no further from itself than a float32 file.
        self_difference=TOLERANCES[PROBABILITIES],
        heatmap_mean=_FP16_HEATMAP_MEAN,
    ),
    Precision.INT8: Rule(
        precision=Precision.INT8,
        tolerances={DECODE: TOLERANCES[DECODE], TENSOR: TOLERANCES[TENSOR]},
        self_difference=_INT8_MAX_SELF_DIFFERENCE,
        min_agreement=_INT8_MIN_AGREEMENT,
        golden_tolerance=_INT8_GOLDEN_TOLERANCE,
        noise_margin=_INT8_NOISE_MARGIN,
        familiarity_tolerance=_INT8_FAMILIARITY_TOLERANCE,
        heatmap_mean=_INT8_HEATMAP_MEAN,
        on_half=_INT8_ON_HALF,
    ),
}

# How the names of an int8 file's own metrics begin.
OF_INT8 = "int8_"

STORED: Mapping[Precision, str] = {
    Precision.FP32: "float32",
    Precision.FP16: "float32, with large weights stored as float16",
    Precision.INT8: "int8, its preprocessing and its last step in float32",
}


def precision_of(model: onnx.ModelProto) -> Precision:
    """What the graph itself shows; metadata could claim anything, and so could nodes that no output depends on."""
    outputs = [output.name for output in model.graph.output if output.name != FAMILIARITY]  # whose bank is no weight
    needed = set[str]().union(*(leads_to(list(model.graph.node), name) for name in outputs))
    if any(node.op_type == "QuantizeLinear" and needed.intersection(node.output) for node in model.graph.node):
        return Precision.INT8
    if any(tensor.data_type == TensorProto.FLOAT16 and tensor.name in needed for tensor in model.graph.initializer):
        return Precision.FP16
    return Precision.FP32
