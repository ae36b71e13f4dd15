"""How far a file's answers are from float32's on the same images, with errors; nothing is decided within them."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from tl_infer.model.contract import Task
from tl_train.evaluation.metrics import CONFIDENCE, wilson_interval

Floats = npt.NDArray[np.float64]

_LEAST_POWER = 1e-30


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value with its 95% confidence interval, low <= value <= high."""

    value: float
    low: float
    high: float


def mean_estimate(values: Floats) -> Estimate:
    """The mean of one or more values, with Student's interval; a single value says nothing of the error."""
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean, -math.inf, math.inf)
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    reach = error * float(student.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return Estimate(mean, mean - reach, mean + reach)


def noise_shares(expected: npt.NDArray[np.floating], found: npt.NDArray[np.floating], task: Task = "single") -> Floats:
    """Each image's noise power in the logits, over the mean signal power: float64 (N,).

    What does not tell is left out of the signal: of one label, what is added to all classes of an image alike; of
    several, what is added to a label of all images alike.

    Args:
        expected: float32's logits (N, C).
        found: the other file's, likewise.
        task: of the model.

    """
    signal, noise = expected.astype(np.float64), found.astype(np.float64) - expected
    if task == "single":
        signal, noise = (values - values.mean(axis=1, keepdims=True) for values in (signal, noise))
    else:
        signal = signal - signal.mean(axis=0)
    shares: Floats = np.square(noise).sum(axis=1) / max(np.square(signal).sum(axis=1).mean(), _LEAST_POWER)
    return shares


def paired_difference(both: int, only_first: int, only_second: int, neither: int) -> Estimate:
    """The difference of two shares measured on the same things, first minus second, with its 95% interval.

    Args:
        both: things that count in both shares; likewise the others. The sum is 1 or more.
        only_first: in the first alone.
        only_second: in the second alone.
        neither: in none.

    Source: Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired
    data", Statistics in Medicine 1998, method 10: the Wilson intervals of both shares, combined by their correlation.

    """
    total = both + only_first + only_second + neither
    first, second = (both + only_first) / total, (both + only_second) / total
    interval_1 = wilson_interval(both + only_first, total)
    interval_2 = wilson_interval(both + only_second, total)
    phi = _correlation(both, only_first, only_second, neither)

    def joined(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))

    difference = first - second
    low = difference - joined(first - interval_1.low, interval_2.high - second)
    high = difference + joined(interval_1.high - first, second - interval_2.low)
    return Estimate(difference, max(-1.0, low), min(1.0, high))


def _correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Phi of the two by two table, corrected for continuity as the source of `paired_difference` does."""
    sides = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if sides == 0:
        return 0.0
    excess = both * neither - only_first * only_second
    half = (both + only_first + only_second + neither) / 2
    return (excess if excess < 0 else max(0.0, excess - half)) / math.sqrt(sides)
