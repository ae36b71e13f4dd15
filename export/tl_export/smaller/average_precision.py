"""Mean average precision (mAP), and how much of it one file loses against another: a paired bootstrap over images."""

import numpy as np
import numpy.typing as npt

from tl_export.smaller.measure import Estimate
from tl_train.evaluation.metrics import CONFIDENCE
from tl_train.progress import Progress

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int32]

_RESAMPLES = 1000
_SEED = 0
# How many counts of images are worked on at a time; so many fit a processor's cache.
_MAX_COUNTS = 200_000


def mean_average_precision(probabilities: Floats, targets: npt.NDArray[np.floating]) -> float:
    """The mean over the labels of the area under the precision-recall curve, a step function: 0..1.

    Args:
        probabilities: (N, C).
        targets: (N, C), 1 present, 0 absent, NaN unknown. A label that no image has does not count.

    Returns:
        NaN where no label counts.

    """
    return float(_mean_over_labels(_average_precisions(probabilities, targets, _each_once(len(targets))))[0])


def average_precision_lost(
    before: Floats, after: Floats, targets: npt.NDArray[np.floating], progress: Progress
) -> Estimate:
    """The mAP before minus the mAP after, as a share, with its 95% interval by the percentiles of a paired bootstrap.

    The images are drawn again with replacement, the same ones for both. A change that no image shows may still be
    there in others: each end is at least one image's share away.

    Args:
        before: probabilities (N, C).
        after: of the same images.
        targets: (N, C), as for `mean_average_precision`.
        progress: shows the images drawn.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile intervals).

    """
    images = len(targets)
    value = float(_mean_over_labels(_lost(before, after, targets, _each_once(images)))[0])
    if np.isnan(value):
        return Estimate(0.0, -1.0, 1.0)
    random, drawn = np.random.default_rng(_SEED), []
    starts = range(0, _RESAMPLES, max(1, _MAX_COUNTS // images))
    for start in progress.steps(starts, "Comparing mAP", len(starts)):
        resamples = min(starts.step, _RESAMPLES - start)
        counts = random.multinomial(images, np.full(images, 1 / images), resamples).astype(np.int32)
        drawn.append(_mean_over_labels(_lost(before, after, targets, counts)))
    tails = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
    low, high = np.nanquantile(np.concatenate(drawn), tails)
    return Estimate(value, max(-1.0, min(low, value - 1 / images)), min(1.0, max(high, value + 1 / images)))


def _lost(before: Floats, after: Floats, targets: npt.NDArray[np.floating], counts: Counts) -> Floats:
    return _average_precisions(before, targets, counts) - _average_precisions(after, targets, counts)


def _average_precisions(probabilities: Floats, targets: npt.NDArray[np.floating], counts: Counts) -> Floats:
    """Of each label in each resample: float64 (B, C), NaN where no image of it has the label.

    Args:
        probabilities: (N, C).
        targets: (N, C).
        counts: (B, N), how often each image was drawn.

    """
    found = np.empty((len(counts), targets.shape[1]))
    for place, truth in enumerate(targets.T):
        known = np.isfinite(truth)
        found[:, place] = _average_precision(probabilities[known, place], truth[known] == 1, counts[:, known])
    return found


def _average_precision(probabilities: Floats, present: npt.NDArray[np.bool_], counts: Counts) -> Floats:
    """Of one label in each resample, float64 (B,); images of one probability are ranked together."""
    if not present.any():
        return np.full(len(counts), np.nan)
    order = np.argsort(-probabilities, kind="stable")
    levels, drawn = probabilities[order], counts[:, order]
    ends = np.flatnonzero(np.append(levels[1:] != levels[:-1], True))
    given = drawn.cumsum(axis=1, dtype=np.int32)[:, ends]
    right = (drawn * present[order]).cumsum(axis=1, dtype=np.int32)[:, ends]
    gained = np.diff(right, axis=1, prepend=0)
    total = right[:, -1]
    summed = (gained * (right / np.maximum(given, 1))).sum(axis=1)
    return np.where(total > 0, summed / np.maximum(total, 1), np.nan)


def _mean_over_labels(values: Floats) -> Floats:
    """Of the labels that have a value: float64 (B,), NaN where none has."""
    counted = np.isfinite(values)
    sums, numbers = np.where(counted, values, 0.0).sum(axis=1), counted.sum(axis=1)
    return np.where(numbers > 0, sums / np.maximum(numbers, 1), np.nan)


def _each_once(images: int) -> Counts:
    return np.ones((1, images), np.int32)
