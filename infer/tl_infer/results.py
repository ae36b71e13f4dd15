"""The answers of a classifier."""

import dataclasses

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """One class and its probability, 0..1."""

    label: str
    probability: float


@dataclasses.dataclass(frozen=True, slots=True)
class Classification:
    """The answer for one image.

    Two are equal if they name the same classes with the same probabilities and both abstain or neither does.

    Attributes:
        top: the most probable classes, best first; as many as were asked for.
        abstained: the best probability is below the threshold.
        ms: milliseconds from the source to the answer, in the thread that did the work.
        embedding: float32 (D,), the pooled features, if asked for; else None.
        heatmap: float32 (h, w), where the first class of `top` was seen, if asked for; else None.

    """

    top: tuple[Score, ...]
    abstained: bool = False
    ms: float = dataclasses.field(default=0.0, compare=False)
    embedding: Vector | None = dataclasses.field(default=None, compare=False, repr=False)
    heatmap: Vector | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def label(self) -> str | None:
        """The most probable class; None if the model abstained."""
        return None if self.abstained else self.top[0].label

    @property
    def probability(self) -> float:
        """The probability of the most probable class, 0..1, even if the model abstained."""
        return self.top[0].probability


@dataclasses.dataclass(frozen=True, slots=True)
class SelfTest:
    """The result of the golden samples of a model file on this machine.

    Attributes:
        samples: how many were run.
        max_difference: the largest absolute difference of any probability.
        tolerance: the largest difference that the file allows.

    """

    samples: int
    max_difference: float
    tolerance: float
