"""What is measured on held-out pictures."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from tl_train.evaluation.reliability import Floats, calibration_bins, expected_calibration_error, risk_coverage

Ints = npt.NDArray[np.int64]

CONFIDENCE = 0.95

_MAX_CURVE_POINTS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval of a share, 0 <= low <= high <= 1."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True, slots=True)
class ClassScore:
    """How one class fares.

    Attributes:
        support: pictures that are of this class.
        predicted: pictures that were taken for it.
        precision: share of the predicted that are right; None when it was never predicted.
        recall: share of the class's pictures that were found; None when there are none.
        f1: harmonic mean of both, as 2 * right / (support + predicted); None when both counts are zero.

    """

    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A model's answers on one part of a data set.

    Attributes:
        part: `test` or `val`.
        truth: int (N,), indices into the labels; N is one or more.
        probabilities: float (N, C), rows sum to 1; with the temperature applied.
        uncalibrated: the same without the temperature; None where there is none.

    """

    part: str
    truth: Ints
    probabilities: Floats
    uncalibrated: Floats | None = None

    @property
    def predicted(self) -> Ints:
        """The most probable class of each picture: int (N,)."""
        predicted: Ints = np.argmax(self.probabilities, axis=1)
        return predicted

    @property
    def confidence(self) -> Floats:
        """The probability of that class: float (N,)."""
        confidence: Floats = self.probabilities.max(axis=1)
        return confidence

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether each picture is classified right: bool (N,)."""
        right: npt.NDArray[np.bool_] = self.predicted == self.truth
        return right

    @property
    def correct(self) -> int:
        """How many pictures are classified right."""
        return int(self.right.sum())

    @property
    def accuracy(self) -> float:
        """Share of pictures classified right, 0..1."""
        return self.correct / len(self.truth)

    @property
    def interval(self) -> Interval:
        """The 95% confidence interval of the accuracy."""
        return wilson_interval(self.correct, len(self.truth))

    @property
    def log_loss(self) -> float:
        """Mean negative log-likelihood of the true class, in nats."""
        chosen = self.probabilities[np.arange(len(self.truth)), self.truth]
        return float(-np.log(np.maximum(chosen, np.finfo(float).tiny)).mean())

    @property
    def brier(self) -> float:
        """Mean squared distance of the probabilities from the truth, summed over the classes, 0..2.

        Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.
        """
        truth = np.eye(self.probabilities.shape[1])[self.truth]
        return float(((self.probabilities - truth) ** 2).sum(axis=1).mean())

    @property
    def calibration_error(self) -> float:
        """Expected calibration error of the top class; see `expected_calibration_error`."""
        return expected_calibration_error(calibration_bins(self.confidence, self.right))

    @property
    def confusion(self) -> Ints:
        """Counts (C, C): row the true class, column the predicted one."""
        classes = self.probabilities.shape[1]
        counts = np.zeros((classes, classes), dtype=np.int64)
        np.add.at(counts, (self.truth, self.predicted), 1)
        return counts

    def before(self) -> "Evaluation":
        """The same answers without the temperature."""
        if self.uncalibrated is None:
            return self
        return Evaluation(self.part, self.truth, self.uncalibrated)


def softmax(logits: npt.NDArray[np.floating]) -> Floats:
    """Probabilities of logits (N, C), in double precision; rows sum to 1."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    probabilities: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def wilson_interval(correct: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """The two-sided confidence interval of a share; sensible for few pictures and for shares of 0 and 1.

    Args:
        correct: 0 to `total`.
        total: 1 or more.
        confidence: above 0, below 1.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927; formula 3 of
    Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 1998.

    """
    z = float(norm.ppf((1 + confidence) / 2))
    share = correct / total
    centre = (correct + z * z / 2) / (total + z * z)
    margin = z * math.sqrt(share * (1 - share) * total + z * z / 4) / (total + z * z)
    # At a share of 0 or 1 that end is exact; floating point alone would leave a rest.
    low = 0.0 if correct == 0 else max(0.0, centre - margin)
    high = 1.0 if correct == total else min(1.0, centre + margin)
    return Interval(low, high)


def class_scores(confusion: Ints) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of every class, from counts (C, C) with a row per true class."""
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return tuple(
        ClassScore(
            support=int(support[i]),
            predicted=int(predicted[i]),
            precision=_share(int(confusion[i, i]), int(predicted[i])),
            recall=_share(int(confusion[i, i]), int(support[i])),
            f1=_share(2 * int(confusion[i, i]), int(support[i] + predicted[i])),
        )
        for i in range(len(confusion))
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def measurements(evaluation: Evaluation, labels: tuple[str, ...]) -> dict[str, object]:
    """Everything that is measured, as it stands in metrics.json: numbers that are finite, or null where undefined.

    `log_loss`, `brier`, `calibration_error` and `reliability` are of the probabilities with the temperature applied,
    `uncalibrated` has those without. The points of the risk-coverage curve are thinned to `_MAX_CURVE_POINTS`.
    """
    interval = evaluation.interval
    scores = class_scores(evaluation.confusion)
    curve = risk_coverage(evaluation.confidence, evaluation.right)
    kept = np.unique(np.linspace(0, len(curve.risk) - 1, _MAX_CURVE_POINTS).round().astype(int))
    before = evaluation.before()
    return {
        "part": evaluation.part,
        "pictures": len(evaluation.truth),
        "correct": evaluation.correct,
        "accuracy": evaluation.accuracy,
        "accuracy_interval": [interval.low, interval.high],
        "log_loss": evaluation.log_loss,
        "brier": evaluation.brier,
        "calibration_error": evaluation.calibration_error,
        "uncalibrated": {
            "log_loss": before.log_loss, "brier": before.brier, "calibration_error": before.calibration_error,
        },
        "labels": list(labels),
        "confusion": evaluation.confusion.tolist(),
        "classes": [
            {"label": label, **dataclasses.asdict(score)} for label, score in zip(labels, scores, strict=True)
        ],
        "reliability": [
            {**dataclasses.asdict(group), "accuracy": group.accuracy}
            for group in calibration_bins(evaluation.confidence, evaluation.right)
        ],
        "risk_coverage": {
            "area": curve.area,
            "threshold": curve.thresholds[kept].tolist(),
            "coverage": curve.coverage[kept].tolist(),
            "risk": curve.risk[kept].tolist(),
        },
    }  # fmt: skip
