"""What is measured on held-out pictures."""

import dataclasses

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A model's answers on one part of a data set.

    Attributes:
        part: `test` or `val`.
        truth: int (N,), indices into the labels.
        probabilities: float (N, C), rows sum to 1.

    """

    part: str
    truth: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """The most probable class of each picture: int (N,)."""
        predicted: npt.NDArray[np.int64] = np.argmax(self.probabilities, axis=1)
        return predicted

    @property
    def correct(self) -> int:
        """How many pictures are classified right."""
        return int((self.predicted == self.truth).sum())

    @property
    def accuracy(self) -> float:
        """Share of pictures classified right, 0..1."""
        return self.correct / len(self.truth)

    @property
    def log_loss(self) -> float:
        """Mean negative log-likelihood of the true class, in nats."""
        chosen = self.probabilities[np.arange(len(self.truth)), self.truth]
        return float(-np.log(np.maximum(chosen, np.finfo(float).tiny)).mean())

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """Counts (C, C): row the true class, column the predicted one."""
        classes = self.probabilities.shape[1]
        counts = np.zeros((classes, classes), dtype=np.int64)
        np.add.at(counts, (self.truth, self.predicted), 1)
        return counts


def softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Probabilities of logits (N, C), in double precision; rows sum to 1."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    probabilities: npt.NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities
