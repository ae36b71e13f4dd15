"""How fast two files are, side by side: a ratio that holds on a busy machine, too."""

import dataclasses
import math
import statistics
import time
from collections.abc import Sequence

import numpy as np
from scipy.stats import quantile_test

from tl_export.smaller.measure import Estimate
from tl_infer.images import Pixels
from tl_infer.model.contract import PROBABILITIES
from tl_infer.model.session import Session
from tl_train.evaluation.metrics import CONFIDENCE

WARM_UP_ROUNDS = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Speed:
    """Two files timed in turn on the same images, one thread each.

    Attributes:
        ms: milliseconds per decoded image of the first file and of the second, medians.
        ratio: how many times faster the second is; median over the rounds.

    """

    ms: tuple[float, float]
    ratio: Estimate


def compare_speed(first: bytes, second: bytes, pictures: Sequence[Pixels], rounds: int) -> Speed:
    """Time two files side by side.

    Each round runs one image through both, in alternating order, so that a machine that slows down slows both. One
    thread, like each worker of the Classifier's pool; decoding is not counted, it is the same for both.

    Args:
        first: the file to compare with.
        second: the other file.
        pictures: one or more decoded images, taken in turn.
        rounds: how many pairs of runs to time.

    """
    sessions = [Session.from_bytes(data, "model") for data in (first, second)]
    arrays = [picture[np.newaxis] for picture in pictures]
    seconds: list[tuple[float, float]] = []
    for number in range(-WARM_UP_ROUNDS, rounds):
        image, pair = arrays[number % len(arrays)], [0.0, 0.0]
        for place in (0, 1) if number % 2 else (1, 0):
            started = time.perf_counter()
            sessions[place].run(image, [PROBABILITIES])
            pair[place] = time.perf_counter() - started
        if number >= 0:
            seconds.append((pair[0], pair[1]))
    ms = (1000 * statistics.median(one for one, _ in seconds), 1000 * statistics.median(two for _, two in seconds))
    return Speed(ms, median_estimate([one / two for one, two in seconds]))


def median_estimate(values: Sequence[float]) -> Estimate:
    """The median with a 95% interval that assumes nothing about the distribution.

    Its ends are order statistics. Below six values none of them reach 95%; then they are the extremes.
    """
    interval = quantile_test(values, p=0.5).confidence_interval(CONFIDENCE)
    low = min(values) if math.isnan(interval.low) else float(interval.low)
    high = max(values) if math.isnan(interval.high) else float(interval.high)
    return Estimate(statistics.median(values), low, high)
