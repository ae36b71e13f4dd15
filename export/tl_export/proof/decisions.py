"""From probabilities to labels, as the contract says it: the most probable one, or all from their thresholds on."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tl_infer.model.contract import ModelSpec

Probabilities = npt.NDArray[np.floating]


class Decision(Protocol):
    """How labels are decided on."""

    def labels(self, probabilities: Probabilities) -> tuple[str, ...]:
        """The labels for probabilities (C,)."""

    def reluctance(self, probabilities: Probabilities, others: Sequence[str]) -> float:
        """By how much other labels contradict the probabilities (C,); 0 only if they are the same."""


@dataclasses.dataclass(frozen=True, slots=True)
class TopLabel:
    """The most probable label."""

    names: tuple[str, ...]

    def labels(self, probabilities: Probabilities) -> tuple[str, ...]:
        """That one."""
        return (self.names[int(np.argmax(probabilities))],)

    def reluctance(self, probabilities: Probabilities, others: Sequence[str]) -> float:
        """How much more probable the own label is."""
        own = self.labels(probabilities)
        if tuple(others) == own:
            return 0.0
        if len(others) != 1 or others[0] not in self.names:
            return 1.0
        gap = probabilities.max() - probabilities[self.names.index(others[0])]
        return _more_than_nothing(float(gap))


@dataclasses.dataclass(frozen=True, slots=True)
class Thresholded:
    """Each label whose probability reaches its threshold."""

    names: tuple[str, ...]
    thresholds: tuple[float, ...]

    def labels(self, probabilities: Probabilities) -> tuple[str, ...]:
        """Those, in the order of the columns."""
        return tuple(
            name for name, p, least in zip(self.names, probabilities, self.thresholds, strict=True) if float(p) >= least
        )

    def reluctance(self, probabilities: Probabilities, others: Sequence[str]) -> float:
        """How far the probability of a label on which they differ is from its threshold, of several the farthest."""
        differing = set(self.labels(probabilities)).symmetric_difference(others)
        if not differing:
            return 0.0
        if not differing <= set(self.names):
            return 1.0
        places = [self.names.index(name) for name in differing]
        return _more_than_nothing(max(abs(float(probabilities[i]) - self.thresholds[i]) for i in places))


def decision_of(spec: ModelSpec) -> Decision:
    """How a model's labels are decided on."""
    return TopLabel(spec.labels) if spec.thresholds is None else Thresholded(spec.labels, spec.thresholds)


def _more_than_nothing(gap: float) -> float:
    """Another label differs even where both are equally probable."""
    return max(gap, float(np.finfo(np.float32).tiny))
