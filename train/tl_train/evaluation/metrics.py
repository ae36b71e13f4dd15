"""What is measured on held-out images."""

import dataclasses
import functools
import math

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from tl_train.evaluation.answers import Answers, Bools, Floats, Ints
from tl_train.evaluation.reliability import calibration_bins, expected_calibration_error, risk_coverage

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
        support: images of this class.
        predicted: images that were predicted to be of it.
        precision: share of the predicted that are right; None when it was never predicted.
        recall: share of the class's images that were predicted right; None when there are none.
        f1: harmonic mean of both, as 2 * right / (support + predicted); None when both counts are zero.

    """

    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """A network's answers on one part of a data set, and what they are worth.

    Attributes:
        part: `test` or `val`.
        answers: N is one or more.
        temperature: that the logits are divided by; None where none was fitted.

    """

    part: str
    answers: Answers
    temperature: float | None = None

    @property
    def truth(self) -> Ints:
        """The true classes: int (N,)."""
        return self.answers.truth

    @property
    def calibrated(self) -> bool:
        """Whether a temperature changes the probabilities."""
        return self.temperature not in (None, 1.0)

    @functools.cached_property
    def probabilities(self) -> Floats:
        """Of all classes, with the temperature applied: float (N, C), rows sum to 1."""
        return self.answers.probabilities(1.0 if self.temperature is None else self.temperature)

    @functools.cached_property
    def predicted(self) -> Ints:
        """The most probable class of each image: int (N,)."""
        predicted: Ints = np.argmax(self.probabilities, axis=1)
        return predicted

    @functools.cached_property
    def confidence(self) -> Floats:
        """The probability of that class: float (N,)."""
        confidence: Floats = self.probabilities.max(axis=1)
        return confidence

    @functools.cached_property
    def right(self) -> Bools:
        """Whether each image is classified right: bool (N,)."""
        right: Bools = self.predicted == self.truth
        return right

    @property
    def correct(self) -> int:
        """How many images are classified right."""
        return int(self.right.sum())

    @property
    def accuracy(self) -> float:
        """Share of images classified right, 0..1."""
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
        """The confusion matrix, counts (C, C): row the true class, column the predicted one."""
        counts: Ints = confusion_matrix(self.truth, self.predicted, labels=range(self.probabilities.shape[1]))
        return counts

    @property
    def errors(self) -> Ints:
        """The same without its diagonal: what is classified wrong, and as what."""
        confusion = self.confusion
        return confusion - np.diag(confusion.diagonal())

    def before(self) -> "Evaluation":
        """The same answers without the temperature."""
        return Evaluation(self.part, self.answers)


def wilson_interval(correct: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """The two-sided confidence interval of a share; sensible for few images and for shares of 0 and 1.

    Args:
        correct: 0 to `total`.
        total: 1 or more.
        confidence: above 0, below 1.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.

    """
    found = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return Interval(float(found.low), float(found.high))


def percent(share: float, digits: int = 1) -> str:
    """A share in percent with so many digits behind the point; never rounded to a certainty that it is not."""
    text = f"{100 * share:.{digits}f}"
    if share < 1 and float(text) == 100:
        text = f"> {100 - 10**-digits:.{digits}f}"
    if share > 0 and float(text.removeprefix("> ")) == 0:
        text = f"< {10**-digits:.{digits}f}"
    return f"{text}%"


def class_scores(evaluation: Evaluation) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of every class, in the order of the classes."""
    classes = range(evaluation.probabilities.shape[1])
    scores = precision_recall_fscore_support(
        evaluation.truth, evaluation.predicted, labels=classes, zero_division=math.nan
    )
    predicted = np.bincount(evaluation.predicted, minlength=len(classes))
    return tuple(
        ClassScore(int(support), int(count), _defined(precision), _defined(recall), _defined(f1))
        for precision, recall, f1, support, count in zip(*scores, predicted, strict=True)
    )


def _defined(score: float) -> float | None:
    return None if math.isnan(score) else float(score)


def measurements(evaluation: Evaluation, labels: tuple[str, ...]) -> dict[str, object]:
    """Everything that is measured, as it stands in metrics.json: numbers that are finite, or null where undefined.

    `log_loss`, `brier`, `calibration_error` and `reliability` are of the probabilities with the temperature applied,
    `uncalibrated` has those without. The points of the risk-coverage curve are thinned to `_MAX_CURVE_POINTS`.
    """
    interval = evaluation.interval
    scores = class_scores(evaluation)
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
