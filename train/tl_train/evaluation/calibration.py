"""Calibration: the temperature, and the top probability below which the model abstains.

Both are fitted on images that the model was neither trained on nor selected by; which these are is the caller's to
say. For a set too small to spare any, logits from cross-fitting do as well.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm

from tl_train.evaluation.answers import Answers, Bools, Floats

# A judgement: with fewer images one mistake more or less decides the temperature.
MIN_IMAGES = 20

# Published temperatures lie between 1 and 5. A fit outside the bounds means that something else is wrong with the
# model; the lower one also keeps float32 differences of logits from growing above what the export allows.
TEMPERATURE_BOUNDS = (0.1, 10.0)

# How strongly the temperature is held at 1, in units of one image's log-likelihood; see `fit_temperature`.
PRIOR_STRENGTH = 1.0

TARGET_ACCURACY = 0.95
TARGET_CONFIDENCE = 0.9

_THRESHOLD_STEP = 1e-4


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted, and on what.

    Attributes:
        temperature: the logits are divided by this before the softmax; 1 when not fitted.
        abstain_below: below this top probability the model abstains; None when not fitted.
        pictures: how many images there were to fit on.
        source: which images, in words.
        notes: what could not be fitted and why, a sentence each.

    """

    temperature: float
    abstain_below: float | None
    pictures: int
    source: str
    notes: tuple[str, ...] = ()

    @property
    def fitted(self) -> bool:
        """Whether there were enough images for a temperature."""
        return self.pictures >= MIN_IMAGES


def fit_calibration(answers: Answers, *, source: str, may_sharpen: bool = True) -> Calibration:
    """Fit the temperature and the abstention threshold.

    Args:
        answers: on images that the model was neither trained on nor selected by; may be none.
        source: which images these are, for reports ("validation images").
        may_sharpen: whether a temperature below 1 is taken. A few dozen images without a mistake always ask for one,
            but cannot show how rare mistakes are.

    Raises:
        CalibrationError: logits that are not finite.

    """
    answers.check_finite()
    images = len(answers)
    if images < MIN_IMAGES:
        note = (
            f"{images} {source} are too few to calibrate on (at least {MIN_IMAGES} are needed), so the "
            "probabilities are uncalibrated (temperature 1) and there is no abstention threshold."
        )
        return Calibration(1.0, None, images, source, (note,))
    temperature = fit_temperature(answers)
    if not may_sharpen:
        temperature = max(1.0, temperature)
    probabilities = answers.probabilities(temperature)
    right = probabilities.argmax(axis=1) == answers.truth
    threshold = abstention_threshold(probabilities.max(axis=1), right)
    notes = () if threshold is not None else (_no_threshold(source, right),)
    return Calibration(temperature, threshold, images, source, notes)


def fit_temperature(answers: Answers) -> float:
    """The temperature T with the least mean negative log-likelihood of softmax(logits / T); the logits are finite.

    Where all answers are right the likelihood alone would want T = 0, where they are worse than chance, infinity. So
    `PRIOR_STRENGTH` times (b - 1 - log b), with b = 1/T, is added to the summed negative log-likelihood: a Gamma
    distribution of b with its mode at 1, soon outweighed by informative images. The sum is strictly convex in b, so
    there is exactly one minimum, which is searched within `TEMPERATURE_BOUNDS`.

    Source: Platt scaling with one parameter, as in Guo et al., "On Calibration of Modern Neural Networks", ICML 2017,
    section 4.2; the prior is ours.

    """
    return least_temperature(lambda temperature: temperature_loss(answers, temperature))


def temperature_loss(answers: Answers, temperature: float) -> float:
    """What `fit_temperature` minimises: the mean negative log-likelihood and the prior's share, in nats."""
    return float(answers.log_losses(temperature).mean() + prior_share(temperature, len(answers)))


def least_temperature(loss: Callable[[float], float]) -> float:
    """The temperature within `TEMPERATURE_BOUNDS` with the least loss, which has one minimum."""
    low, high = map(math.log, TEMPERATURE_BOUNDS)
    found = minimize_scalar(
        lambda log_t: loss(math.exp(log_t)), bounds=(low, high), method="bounded", options={"xatol": 1e-6}
    )
    return math.exp(float(found.x))


def prior_share(temperature: float, images: int) -> float:
    """What the prior of `fit_temperature` adds to a mean over so many images."""
    inverse = 1 / temperature
    return PRIOR_STRENGTH * (inverse - 1 - math.log(inverse)) / max(1, images)


def abstention_threshold(confidence: Floats, right: Bools) -> float | None:
    """The smallest top probability from which on the answers are accurate enough.

    "Enough" is `TARGET_ACCURACY`, judged by the lower end of Wilson's one-sided interval (`TARGET_CONFIDENCE`) of the
    answered images, so that three right answers of three do not count as 100%. Only probabilities that were seen are
    candidates, rounded down to four digits: nothing is known about images the model is less sure of than of any of
    these. The threshold is one of many that are tried, so this is a sensible setting and no guarantee.

    Args:
        confidence: float (N,), top probabilities after temperature.
        right: bool (N,), whether the top class is the true one.

    Returns:
        None when no threshold reaches the target.

    """
    steps = np.floor(confidence / _THRESHOLD_STEP).astype(np.int64)
    thresholds, place = np.unique(steps, return_inverse=True)
    # Images at or above each threshold.
    answered = np.cumsum(np.bincount(place, minlength=len(thresholds))[::-1])[::-1]
    correct = np.cumsum(np.bincount(place[right], minlength=len(thresholds))[::-1])[::-1]
    for threshold, *counts in zip(thresholds.tolist(), correct.tolist(), answered.tolist(), strict=True):
        if _lower_limit(*counts) >= TARGET_ACCURACY:
            return round(float(threshold) * _THRESHOLD_STEP, 4)
    return None


def images_for(target_accuracy: float) -> int:
    """How many answered images without an error it takes to reach the target."""
    z = float(norm.ppf(TARGET_CONFIDENCE))
    return math.ceil(target_accuracy * z * z / (1 - target_accuracy))


def _lower_limit(correct: int, total: int) -> float:
    """The lower end of Wilson's one-sided interval."""
    return float(binomtest(correct, total, alternative="greater").proportion_ci(TARGET_CONFIDENCE, "wilson").low)


def _no_threshold(source: str, right: Bools) -> str:
    found = f"{int(right.sum())} of {len(right)} {source} are right"
    needed = images_for(TARGET_ACCURACY)
    if len(right) < needed:
        return (
            f"No abstention threshold: an accuracy of {TARGET_ACCURACY:.0%} can only be shown with {needed} or more "
            f"images, and {found}."
        )
    return f"No abstention threshold: no top probability gives an accuracy of {TARGET_ACCURACY:.0%}; {found}."
