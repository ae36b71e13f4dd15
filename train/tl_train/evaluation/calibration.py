"""Probabilities that mean what they say: the temperature, and the probability below which to say nothing.

Both are fitted on pictures that the model was neither trained on nor selected by; which these are is the caller's to
say. For a set too small to spare any, logits from cross-fitting do as well.
"""

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from scipy.stats import norm

from tl_train.errors import CalibrationError
from tl_train.evaluation.metrics import softmax
from tl_train.evaluation.reliability import Floats

# A judgement: with fewer pictures one mistake more or less decides the temperature.
MIN_PICTURES = 20

# Published temperatures lie between 1 and 5. A fit outside the bounds means that something else is wrong with the
# model; the lower one also keeps float32 differences of logits from growing above what the export allows.
TEMPERATURE_BOUNDS = (0.1, 10.0)

# How strongly the temperature is held at 1, in units of one picture's log-likelihood; see `fit_temperature`.
PRIOR_STRENGTH = 1.0

TARGET_ACCURACY = 0.95
TARGET_CONFIDENCE = 0.9

_THRESHOLD_STEP = 1e-4


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted, and on what.

    Attributes:
        temperature: the logits are divided by this before the softmax; 1 when not fitted.
        abstain_below: below this top probability the model would rather not say; None when not fitted.
        pictures: how many pictures there were to fit on.
        source: which pictures, in words.
        notes: what could not be fitted and why, a sentence each.

    """

    temperature: float
    abstain_below: float | None
    pictures: int
    source: str
    notes: tuple[str, ...] = ()

    @property
    def fitted(self) -> bool:
        """Whether there were enough pictures for a temperature."""
        return self.pictures >= MIN_PICTURES


def fit_calibration(
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    *,
    source: str,
    target_accuracy: float = TARGET_ACCURACY,
    may_sharpen: bool = True,
) -> Calibration:
    """Fit the temperature and the abstention threshold.

    Args:
        logits: (N, C), of pictures that the model was neither trained on nor selected by; N may be 0.
        labels: int (N,), the true classes.
        source: which pictures these are, for reports ("validation pictures").
        target_accuracy: what the answered pictures shall reach, above 0, below 1.
        may_sharpen: whether a temperature below 1 is taken. A few dozen pictures without a mistake always ask for one,
            but cannot show how rare mistakes are.

    Raises:
        CalibrationError: shapes that do not fit, logits that are not finite, a label or the target out of range.

    """
    _check_arguments(logits, labels, target_accuracy)
    pictures = len(labels)
    if pictures < MIN_PICTURES:
        note = (
            f"{pictures} {source} are too few to calibrate on (at least {MIN_PICTURES} are needed), so the "
            "probabilities are the network's own (temperature 1) and there is no abstention threshold."
        )
        return Calibration(1.0, None, pictures, source, (note,))
    temperature = fit_temperature(logits, labels)
    if not may_sharpen:
        temperature = max(1.0, temperature)
    probabilities = softmax(logits / temperature)
    right = probabilities.argmax(axis=1) == labels
    threshold = abstention_threshold(probabilities.max(axis=1), right, target_accuracy)
    notes = () if threshold is not None else (_no_threshold(source, right, target_accuracy),)
    return Calibration(temperature, threshold, pictures, source, notes)


def fit_temperature(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> float:
    """The temperature T with the least mean negative log-likelihood of softmax(logits / T).

    Where all answers are right the likelihood alone would want T = 0, where they are worse than chance, infinity. So
    `PRIOR_STRENGTH` times (b - 1 - log b), with b = 1/T, is added to the summed negative log-likelihood: a Gamma
    distribution of b with its mode at 1, soon outweighed by informative pictures. The sum is strictly convex in b, so
    there is exactly one minimum, which is searched within `TEMPERATURE_BOUNDS`.

    Args:
        logits: (N, C), finite.
        labels: int (N,), 0 to C - 1.

    Source: Platt scaling with one parameter, as in Guo et al., "On Calibration of Modern Neural Networks", ICML 2017,
    section 4.2; the prior is ours.

    """
    exact = logits.astype(np.float64)
    low, high = map(math.log, TEMPERATURE_BOUNDS)
    found = minimize_scalar(
        lambda log_t: temperature_loss(exact, labels, math.exp(log_t)), bounds=(low, high), method="bounded",
        options={"xatol": 1e-6},
    )  # fmt: skip
    return math.exp(float(found.x))


def temperature_loss(logits: Floats, labels: npt.NDArray[np.integer], temperature: float) -> float:
    """What `fit_temperature` minimises: the mean negative log-likelihood and the prior's share, in nats."""
    scaled = logits / temperature
    likelihood = scaled[np.arange(len(labels)), labels] - logsumexp(scaled, axis=1)
    inverse = 1 / temperature
    prior = PRIOR_STRENGTH * (inverse - 1 - math.log(inverse))
    return float(-likelihood.mean() + prior / max(1, len(labels)))


def abstention_threshold(
    confidence: Floats, right: npt.NDArray[np.bool_], target_accuracy: float = TARGET_ACCURACY
) -> float | None:
    """The smallest top probability from which on the answers are accurate enough.

    "Enough" is judged by the lower end of Wilson's one-sided interval (`TARGET_CONFIDENCE`) of the answered pictures,
    so that three right answers of three do not count as 100%. Only probabilities that were seen are candidates,
    rounded down to four digits: nothing is known about pictures the model is less sure of than of any of these. The
    threshold is one of many that are tried, so this is a sensible setting and no guarantee.

    Args:
        confidence: float (N,), top probabilities after temperature.
        right: bool (N,), whether the top class is the true one.
        target_accuracy: above 0, below 1.

    Returns:
        None when no threshold reaches the target.

    """
    steps = np.floor(confidence / _THRESHOLD_STEP).astype(np.int64)
    thresholds, place = np.unique(steps, return_inverse=True)
    # Pictures at or above each threshold.
    answered = np.cumsum(np.bincount(place, minlength=len(thresholds))[::-1])[::-1]
    correct = np.cumsum(np.bincount(place, weights=right, minlength=len(thresholds))[::-1])[::-1]
    enough = _lower_limit(correct, answered) >= target_accuracy
    return round(float(thresholds[np.argmax(enough)]) * _THRESHOLD_STEP, 4) if enough.any() else None


def pictures_for(target_accuracy: float) -> int:
    """How many answered pictures without an error it takes to reach the target."""
    z = float(norm.ppf(TARGET_CONFIDENCE))
    return math.ceil(target_accuracy * z * z / (1 - target_accuracy))


def _lower_limit(correct: npt.NDArray[np.number], total: npt.NDArray[np.number]) -> Floats:
    """The lower end of Wilson's one-sided interval; see `tl_train.evaluation.metrics.wilson_interval`."""
    z = float(norm.ppf(TARGET_CONFIDENCE))
    share = correct / total
    margin = z * np.sqrt(share * (1 - share) * total + z * z / 4)
    limit: Floats = (correct + z * z / 2 - margin) / (total + z * z)
    return limit


def _no_threshold(source: str, right: npt.NDArray[np.bool_], target_accuracy: float) -> str:
    found = f"{int(right.sum())} of {len(right)} {source} are right"
    needed = pictures_for(target_accuracy)
    if len(right) < needed:
        return (
            f"No abstention threshold: an accuracy of {target_accuracy:.0%} can only be shown with {needed} or more "
            f"pictures, and {found}."
        )
    return f"No abstention threshold: no top probability separates an accuracy of {target_accuracy:.0%}; {found}."


def _check_arguments(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], target_accuracy: float) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise CalibrationError(f"logits {logits.shape} and labels {labels.shape} found, expected (N, C) and (N,)")
    if not np.isfinite(logits).all():
        raise CalibrationError("logits: found values that are not finite; the training diverged, try a lower --lr")
    if len(labels) and not (labels.min() >= 0 and labels.max() < logits.shape[1]):
        raise CalibrationError(f"labels: found {labels.min()} to {labels.max()}, expected 0 to {logits.shape[1] - 1}")
    if not 0 < target_accuracy < 1:
        raise CalibrationError(f"target_accuracy: found {target_accuracy}, expected above 0 and below 1")
