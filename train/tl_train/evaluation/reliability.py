"""Whether a model's confidence can be relied on: calibration bins and error, and the risk-coverage curve."""

import dataclasses

import numpy as np

from tl_train.evaluation.answers import Bools, Floats

# Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 5.
CALIBRATION_BINS = 15


@dataclasses.dataclass(frozen=True, slots=True)
class CalibrationBin:
    """The images whose top probability lies in (low, high].

    Attributes:
        low, high: edges of the bin, 0..1.
        pictures: how many images; never zero, empty bins are left out.
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
        """Share of the bin's images that are right."""
        return self.correct / self.pictures


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """What is gained by abstaining where the model is unsure, one point per distinct top probability.

    Attributes:
        thresholds: float (K,), falling; an image is answered when its top probability is at least this.
        coverage: float (K,), share of the images answered; rises to 1.
        risk: float (K,), share of the answered images that are wrong.
        area: mean of the risk over the images, each at its own threshold; 0 is best.

    """

    thresholds: Floats
    coverage: Floats
    risk: Floats
    area: float


def calibration_bins(confidence: Floats, right: Bools) -> tuple[CalibrationBin, ...]:
    """Images grouped by their top probability into bins of equal width, (low, high]; empty bins are left out.

    Args:
        confidence: float (N,), top probabilities, 0..1.
        right: bool (N,), whether the top class is the true one.

    """
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    # A float sum may lie a rounding above 1; it belongs in the last bin.
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
    """Mean over the images of the distance between their bin's accuracy and its mean confidence, 0..1.

    Source: Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015; as formula 3 of
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    total = sum(group.pictures for group in bins)
    return sum(group.pictures * abs(group.accuracy - group.confidence) for group in bins) / total


def risk_coverage(confidence: Floats, right: Bools) -> RiskCoverage:
    """The risk-coverage curve; images of equal confidence are answered together, so their order does not matter.

    Args:
        confidence: float (N,), top probabilities.
        right: bool (N,), whether the top class is the true one.

    Source: El-Yaniv and Wiener, "On the foundations of noise-free selective classification", JMLR 2010; the area as in
    Geifman et al., "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019.

    """
    thresholds, place = np.unique(-confidence, return_inverse=True)
    images = np.bincount(place)
    answered = np.cumsum(images)
    wrong = np.cumsum(np.bincount(place, weights=~right))
    risk = wrong / answered
    area = float((risk * images).sum() / len(confidence))
    return RiskCoverage(-thresholds, answered / len(confidence), risk, area)
