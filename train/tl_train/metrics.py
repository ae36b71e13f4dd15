"""What is measured on held-out pictures."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CONFIDENCE = 0.95

# Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 5.
CALIBRATION_BINS = 15

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


@dataclasses.dataclass(frozen=True, slots=True)
class CalibrationBin:
    """The pictures whose top probability lies in (low, high].

    Attributes:
        low, high: edges of the bin, 0..1.
        pictures: how many; never zero, empty bins are left out.
        correct: how many of them are right.
        confidence: mean of their top probabilities.

    """

    low: float
    high: float
    pictures: int
    correct: int
    confidence: float

    @property
    def accuracy(self) -> float:
        """Share of the bin's pictures that are right."""
        return self.correct / self.pictures


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """What is gained by not answering where the model is unsure, one point per distinct top probability.

    Attributes:
        thresholds: float (K,), falling; a picture is answered when its top probability is at least this.
        coverage: float (K,), share of the pictures answered; rises to 1.
        risk: float (K,), share of the answered pictures that are wrong.
        area: mean of the risk over the pictures, each at its own threshold; 0 is best.

    """

    thresholds: Floats
    coverage: Floats
    risk: Floats
    area: float


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


def calibration_bins(
    confidence: Floats, right: npt.NDArray[np.bool_], bins: int = CALIBRATION_BINS
) -> tuple[CalibrationBin, ...]:
    """Pictures grouped by their top probability into bins of equal width, (low, high]; empty bins are left out.

    Args:
        confidence: float (N,), top probabilities, 0..1.
        right: bool (N,), whether the top class is the true one.
        bins: how many bins divide 0..1.

    """
    edges = np.linspace(0, 1, bins + 1)
    # A float sum may lie a rounding above 1; it belongs into the last bin.
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    return tuple(
        CalibrationBin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            pictures=int((place == i).sum()),
            correct=int(right[place == i].sum()),
            confidence=float(confidence[place == i].mean()),
        )
        for i in np.unique(place)
    )


def expected_calibration_error(bins: tuple[CalibrationBin, ...]) -> float:
    """Mean over the pictures of the distance between their bin's accuracy and its mean confidence, 0..1.

    Source: Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015; as formula 3 of
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    total = sum(group.pictures for group in bins)
    return sum(group.pictures * abs(group.accuracy - group.confidence) for group in bins) / total


def risk_coverage(confidence: Floats, right: npt.NDArray[np.bool_]) -> RiskCoverage:
    """The risk-coverage curve; pictures of equal confidence are answered together, so their order does not matter.

    Args:
        confidence: float (N,), top probabilities.
        right: bool (N,), whether the top class is the true one.

    Source: El-Yaniv and Wiener, "On the foundations of noise-free selective classification", JMLR 2010; the area as in
    Geifman et al., "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019.

    """
    thresholds, place = np.unique(-confidence, return_inverse=True)
    pictures = np.bincount(place)
    answered = np.cumsum(pictures)
    wrong = np.cumsum(np.bincount(place, weights=~right))
    risk = wrong / answered
    area = float((risk * pictures).sum() / len(confidence))
    return RiskCoverage(-thresholds, answered / len(confidence), risk, area)


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
