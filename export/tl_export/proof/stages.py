"""The stages between an image file and its label, and how far two routes through them are apart."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tl_infer.model.contract import EMBEDDING, FAMILIARITY, HEATMAP, LOGITS, PROBABILITIES

DECODE = "decode"
TENSOR = "tensor"
LABEL = "label"

# In the order in which a fault spreads: each stage is computed from the ones before it.
STAGES = (DECODE, TENSOR, EMBEDDING, LOGITS, HEATMAP, PROBABILITIES, FAMILIARITY, LABEL)

# A logit is a log of odds: where a head has learnt next to nothing all are near zero, and a share of them says only how
# float32 rounds. A difference of 1e-4 moves no probability by more than a quarter of that. Heatmaps add up to logits.
_LEAST_SCALE: Mapping[str, float] = {EMBEDDING: 0.0, LOGITS: 1.0, HEATMAP: 1.0}

UNITS: Mapping[str, str] = {
    DECODE: "grey levels",
    TENSOR: "of the normalised value",
    EMBEDDING: "of the largest value",
    LOGITS: "of the largest value or 1",
    HEATMAP: "of the largest value or 1",
    PROBABILITIES: "of probability",
    FAMILIARITY: "of familiarity",
    LABEL: "of probability",
}

# Decoding and preprocessing are the same code on both sides. PyTorch and onnxruntime compute the network in float32
# but sum in different orders: docs/model-file.md has what was measured, and what real faults do.
TOLERANCES: Mapping[str, float] = {
    DECODE: 0.0,
    TENSOR: 1e-5,
    EMBEDDING: 1e-4,
    LOGITS: 1e-4,
    HEATMAP: 1e-4,
    PROBABILITIES: 1e-4,
    FAMILIARITY: 1e-3,
    LABEL: 0.0,
}


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one route makes of one image.

    Attributes:
        values: stage -> array: `decode` uint8 (H, W, 3), `tensor` (3, h, w), `embedding` (D,), `logits` (C,),
            `heatmap` (C, h', w'), `probabilities` (C,), `familiarity` (). Embedding, heatmap and familiarity may be
            absent.
        label: the top-1 class.

    """

    values: Mapping[str, npt.NDArray[Any]]
    label: str


@dataclasses.dataclass(frozen=True, slots=True)
class StageResult:
    """How far the routes are apart at one stage, over all images.

    Attributes:
        stage: its name.
        largest, mean: of the images' differences, in `unit`.
        worst: the image with the largest.
        tolerance: what is allowed; None where the difference is reported only.

    """

    stage: str
    largest: float
    mean: float
    worst: Path
    tolerance: float | None

    @property
    def passed(self) -> bool:
        """Whether the largest difference is allowed; answers of different shapes never are."""
        return math.isfinite(self.largest) and (self.tolerance is None or self.largest <= self.tolerance)

    @property
    def allowed(self) -> str:
        """The tolerance, for people to read."""
        return "-" if self.tolerance is None else f"{self.tolerance:.2g}"

    @property
    def unit(self) -> str:
        """What the differences are measured in."""
        return UNITS[self.stage]


def differences(expected: Answer, found: Answer, labels: Sequence[str]) -> dict[str, float]:
    """Stage -> how far two answers on one image are apart; only the stages that both have.

    The embedding is relative to the largest absolute value expected, logits and heatmap likewise but to 1 at least, the
    others are absolute. At `label` it is by how much the expected answer prefers its own label to the other's; zero
    means the same label.

    Args:
        expected: the answer to compare with.
        found: the answer to judge.
        labels: of the expected probabilities.

    """
    gaps: dict[str, float] = {}
    for stage in STAGES:
        if stage in expected.values and stage in found.values:
            gaps[stage] = _distance(expected.values[stage], found.values[stage], _LEAST_SCALE.get(stage))
    gaps[LABEL] = _preference(expected, found.label, labels)
    return gaps


def summarise(
    measured: Sequence[tuple[Path, Mapping[str, float]]], tolerances: Mapping[str, float] = TOLERANCES
) -> list[StageResult]:
    """A row per stage, in order, from the differences on one or more images; stages without a tolerance too."""
    results = []
    for stage in STAGES:
        if stage not in measured[0][1]:
            continue
        worst, gaps = max(measured, key=lambda image: image[1][stage])
        mean = math.fsum(gap[stage] for _, gap in measured) / len(measured)
        results.append(StageResult(stage, gaps[stage], mean, worst, tolerances.get(stage)))
    return results


def first_failure(results: Sequence[StageResult]) -> StageResult | None:
    """The earliest stage that is outside its tolerance: where to look for the fault."""
    return next((result for result in results if not result.passed), None)


def _distance(expected: npt.NDArray[Any], found: npt.NDArray[Any], least_scale: float | None) -> float:
    """The largest difference; relative where there is a least scale."""
    if expected.shape != found.shape:
        return math.inf
    gap = float(np.abs(expected.astype(np.float64) - found).max())
    if least_scale is None:
        return gap
    return gap / (max(float(np.abs(expected).max()), least_scale) or 1.0)


def _preference(expected: Answer, label: str, labels: Sequence[str]) -> float:
    if label == expected.label:
        return 0.0
    if label not in labels:
        return 1.0
    probabilities = expected.values[PROBABILITIES]
    gap = float(probabilities[labels.index(expected.label)] - probabilities[labels.index(label)])
    return max(gap, float(np.finfo(np.float32).tiny))  # another label differs even where both are equally probable
