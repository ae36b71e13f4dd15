"""What is asked of a model for each picture, and its probabilities as a ranked answer."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tl_infer.model.contract import PROBABILITIES
from tl_infer.results import Classification, Score, Vector


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes:
        labels: of the model.
        top_k: how many classes to name, 1 to all; None for all.
        threshold: abstain below this probability, 0..1; None never abstains.
        outputs: further outputs of the model.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.

    """

    labels: tuple[str, ...]
    top_k: int | None = 1
    threshold: float | None = None
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.top_k is not None and not 1 <= self.top_k <= len(self.labels):
            raise ValueError(f"top_k: found {self.top_k}, expected 1 to {len(self.labels)} (the model's classes)")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold: found {self.threshold}, expected 0 to 1")

    @property
    def all_outputs(self) -> Sequence[str]:
        """Names of what the model has to compute, the probabilities first."""
        return (PROBABILITIES, *self.outputs)

    def rank(self, probabilities: Vector, ms: float) -> Classification:
        """The answer for one picture.

        Args:
            probabilities: float32 (C,), in the order of the labels.
            ms: milliseconds that it took.

        """
        # Stable: of equal probabilities the first label wins, as with argmax.
        order = np.argsort(-probabilities, kind="stable")[: self.top_k]
        top = tuple(Score(self.labels[i], float(probabilities[i])) for i in order)
        abstained = self.threshold is not None and top[0].probability < self.threshold
        return Classification(top, abstained, ms)
