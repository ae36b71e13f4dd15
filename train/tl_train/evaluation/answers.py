"""`Answers`: predictions with ground truth."""

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, softmax

from tl_train.errors import CalibrationError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """A network's answers to N images, with the true classes.

    Attributes:
        logits: float (N, C), before temperature and softmax; N may be 0.
        truth: int (N,), the true classes, 0 to C - 1.

    Raises:
        CalibrationError: the shapes do not fit each other, or a class is out of range.

    """

    logits: npt.NDArray[np.floating]
    truth: Ints

    def __post_init__(self) -> None:
        logits, truth = self.logits, self.truth
        if logits.ndim != 2 or truth.shape != logits.shape[:1]:
            raise CalibrationError(f"logits {logits.shape} and labels {truth.shape} found, expected (N, C) and (N,)")
        if len(truth) and not (truth.min() >= 0 and truth.max() < logits.shape[1]):
            raise CalibrationError(f"labels: found {truth.min()} to {truth.max()}, expected 0 to {logits.shape[1] - 1}")

    def __len__(self) -> int:
        return len(self.truth)

    def check_finite(self) -> None:
        """See that the logits are numbers.

        Raises:
            CalibrationError: one is NaN or infinite.

        """
        if not np.isfinite(self.logits).all():
            raise CalibrationError("logits: found values that are not finite; the training diverged, try a lower --lr")

    def probabilities(self, temperature: float = 1.0) -> Floats:
        """softmax(logits / temperature): float64 (N, C), rows sum to 1."""
        probabilities: Floats = softmax((self.logits / temperature).astype(np.float64), axis=1)
        return probabilities

    def log_losses(self, temperature: float) -> Floats:
        """Each image's negative log-likelihood of its true class under softmax(logits / temperature): (N,), nats."""
        scaled = self.logits.astype(np.float64) / temperature
        losses: Floats = logsumexp(scaled, axis=1) - scaled[np.arange(len(self)), self.truth]
        return losses
