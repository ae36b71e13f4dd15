"""The stages between an image file and its label, and how far two routes through them are apart."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from tl_export.proof.decisions import Decision
from tl_infer.model.contract import EMBEDDING, FAMILIARITY, HEATMAP, LOGITS, PROBABILITIES

DECODE = "decode"
TENSOR = "tensor"
LABEL = "label"

# In the order in which a fault spreads: each stage is computed from the ones before it.
STAGES = (DECODE, TENSOR, EMBEDDING, LOGITS, HEATMAP, PROBABILITIES, FAMILIARITY, LABEL)

# A logit is a log of odds: where a head has learnt next to nothing all are near zero, and a share of them says only how
# float32 rounds. A difference of 1e-4 moves no probability by more than a quarter of that. Heatmaps add up to logits.
_LEAST_SCALE: Mapping[str, float] = {LOGITS: 1.0, HEATMAP: 1.0}

UNITS: Mapping[str, str] = {
    DECODE: "grey levels",
    TENSOR: "of the normalised value",
    EMBEDDING: "of the largest value of all images",
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
        labels: what is said of it: the top-1 class, or of a model that gives several, those that it gives.

    """

    values: Mapping[str, npt.NDArray[Any]]
    labels: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class StageResult:
    """How far the routes are apart at one stage, over all images.

    Attributes:
        stage: its name.
        largest, mean: of the images' differences, in `unit`.
        worst: the image with the largest.
        tolerance: what is allowed of the largest; None where that is reported only.
        on_half: what is allowed on half of the images; None where nothing is said of that.

    """

    stage: str
    largest: float
    mean: float
    worst: Path
    tolerance: float | None
    on_half: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the largest difference is allowed; answers of different shapes never are."""
        return math.isfinite(self.largest) and (self.tolerance is None or self.largest <= self.tolerance)

    @property
    def allowed(self) -> str:
        """The tolerance, for people to read."""
        if self.tolerance is None:
            return "-" if self.on_half is None else f"{self.on_half:.2g} on half"
        return f"{self.tolerance:.2g}"

    @property
    def unit(self) -> str:
        """What the differences are measured in."""
        return UNITS[self.stage]


def differences(expected: Answer, found: Answer, decision: Decision) -> dict[str, float]:
    """Stage -> how far two answers on one image are apart; only the stages that both have.

    Logits and heatmap are relative to the largest absolute value expected, but to 1 at least, the others are absolute;
    for the embedding see `relative_to_all`. At `label` it is by how much the expected answer prefers its own label to
    the other's, or how far a label on which they differ is from its threshold; zero means the same labels.

    Args:
        expected: the answer to compare with.
        found: the answer to judge.
        decision: how the expected probabilities become labels.

    """
    gaps: dict[str, float] = {}
    for stage in STAGES:
        if stage in expected.values and stage in found.values:
            gaps[stage] = _distance(expected.values[stage], found.values[stage], _LEAST_SCALE.get(stage))
    gaps[LABEL] = decision.reluctance(expected.values[PROBABILITIES], found.labels)
    return gaps


def relative_to_all(measured: Sequence[tuple[Path, dict[str, float]]], largest: float) -> None:
    """Make the differences of embeddings shares of the largest absolute value that any image's embedding has, in place.

    Not of its own: where little of an image's embedding is above zero, what is left of larger values before it still
    has their rounding (float32 was 2e-4 of such an embedding from float64, in PyTorch alone).
    """
    for _, gaps in measured:
        if EMBEDDING in gaps:
            gaps[EMBEDDING] /= largest or 1.0


def summarise(
    measured: Sequence[tuple[Path, Mapping[str, float]]],
    tolerances: Mapping[str, float] = TOLERANCES,
    on_half: Mapping[str, float] = MappingProxyType({}),
) -> list[StageResult]:
    """A row per stage, in order, from the differences on one or more images; stages without a tolerance too."""
    results = []
    for stage in STAGES:
        if stage not in measured[0][1]:
            continue
        worst, gaps = max(measured, key=lambda image: nan_last(image[1][stage]))
        mean = math.fsum(gap[stage] for _, gap in measured) / len(measured)
        results.append(StageResult(stage, gaps[stage], mean, worst, tolerances.get(stage), on_half.get(stage)))
    return results


def first_failure(results: Sequence[StageResult]) -> StageResult | None:
    """The earliest stage that is outside its tolerance: where to look for the fault."""
    return next((result for result in results if not result.passed), None)


def nan_last(gap: float) -> float:
    """For sorting: nothing compares with NaN, so that one of a later image would be passed over."""
    return math.inf if math.isnan(gap) else gap


def _distance(expected: npt.NDArray[Any], found: npt.NDArray[Any], least_scale: float | None) -> float:
    """The largest difference; relative where there is a least scale."""
    if expected.shape != found.shape:
        return math.inf
    if np.array_equal(expected, found):  # decoded photos nearly always are; as float64 they take 5 ms each
        return 0.0
    gap = float(np.abs(expected.astype(np.float64) - found).max())
    if least_scale is None:
        return gap
    return gap / max(float(np.abs(expected).max()), least_scale)
