"""What decides whether int8 may replace float: accuracy lost and time saved, both measured in pairs."""

import dataclasses
import math
import statistics
import time
from collections.abc import Sequence

import numpy as np
from scipy.stats import quantile_test

from tl_export.errors import ExportError
from tl_export.run_pictures import LabelledPicture
from tl_infer.classifier import Classifier
from tl_infer.errors import ImageError
from tl_infer.images import Pixels
from tl_infer.limits import Limits
from tl_infer.model.contract import PROBABILITIES
from tl_infer.model.session import Session
from tl_train.evaluation.metrics import CONFIDENCE, wilson_interval

WARM_UP_ROUNDS = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value with its 95% confidence interval, low <= value <= high."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, slots=True)
class Speed:
    """Two files timed in turn on the same images, one thread each.

    Attributes:
        ms: milliseconds per decoded image of the first file and of the second, medians.
        ratio: how many times faster the second is; median over the rounds.

    """

    ms: tuple[float, float]
    ratio: Estimate


def predicted_labels(model: bytes, pictures: Sequence[LabelledPicture], limits: Limits) -> list[str]:
    """The most probable class of each image, from the file through the real Classifier, decoded within limits.

    Raises:
        ExportError: an image cannot be read.

    """
    labels = []
    for result in Classifier(model, limits=limits).classify_many(picture.picture for picture in pictures):
        if isinstance(result, ImageError):
            raise ExportError(f"{result}; cannot measure on this image") from result
        labels.append(result.top[0].label)  # also where the model abstains
    return labels


def accuracy(labels: Sequence[str], pictures: Sequence[LabelledPicture]) -> float:
    """Share of the images that got their true label, 0..1."""
    return sum(label == picture.label for label, picture in zip(labels, pictures, strict=True)) / len(pictures)


def accuracy_drop(before: Sequence[str], after: Sequence[str], pictures: Sequence[LabelledPicture]) -> Estimate:
    """How much accuracy is lost from `before` to `after`, as a share (0.01 is one point); negative where it rises."""
    both = only_before = only_after = neither = 0
    for old, new, picture in zip(before, after, pictures, strict=True):
        right = (old == picture.label, new == picture.label)
        both += right == (True, True)
        only_before += right == (True, False)
        only_after += right == (False, True)
        neither += right == (False, False)
    return paired_difference(both, only_before, only_after, neither)


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
    interval_1 = wilson_interval(both + only_first, total, CONFIDENCE)
    interval_2 = wilson_interval(both + only_second, total, CONFIDENCE)
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
