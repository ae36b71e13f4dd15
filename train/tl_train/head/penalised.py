"""A linear head fitted on frozen features with a penalty towards a given head; its strength by cross-validation.

Without images of every kind of dog, many heads separate the training images equally well. The penalty says which
one to take: the nearest to the given head, as near as the training images do not contradict it.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tl_train.errors import DataError
from tl_train.head.coordinates import Coordinates
from tl_train.head.cross_validation import STRENGTHS, CrossValidation, Labels, StrengthTried, choose_strength
from tl_train.head.folds import Folding
from tl_train.head.loss import CROSS_ENTROPY, Loss
from tl_train.head.regressions import Regressions
from tl_train.head.solver import ROUGH_TOLERANCE, TOLERANCE, Tolerance, minimise, worker_threads

MAX_FOLDS = 10
# From so many images on, half the folds tell as much.
_MANY_IMAGES = 2000
_FOLDS_OF_MANY = 5
# From so many on, one of these folds, 2000 images or more, tells the strengths apart as far as they matter, and fits
# that hold images out need not be exact.
_IMAGES_FOR_ONE_FOLD = 10_000
# Folds times classes that are fitted at a time. Time and memory grow with them; so many take about a quarter of the
# time that onnxruntime needs for the features of a small network.
MAX_COLUMNS = 256


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """Logits are features @ weight.T + bias.

    Attributes:
        weight: (C, D).
        bias: (C,).

    Raises:
        ValueError: shapes that do not belong together.

    """

    weight: npt.NDArray[np.floating]
    bias: npt.NDArray[np.floating]

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ValueError(f"found weight {self.weight.shape} and bias {self.bias.shape}, expected (C, D) and (C,)")

    @staticmethod
    def zero(classes: int, width: int) -> "LinearHead":
        """A head that knows nothing: drawn to it, the fit is softmax regression with L2 regularisation."""
        return LinearHead(np.zeros((classes, width), np.float32), np.zeros(classes, np.float32))


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class PenalisedHead:
    """A fitted head.

    Attributes:
        weight: float32 (C, D).
        bias: float32 (C,).
        strength: of the penalty that was chosen.
        table: what cross-validation measured, strongest penalty first.
        cross_fitted: float32 (N, C), logits of the training images, each from a head that was fitted without its
            fold, at the chosen strength. All images had a part in the choice of that one number.

    """

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    strength: float
    table: tuple[StrengthTried, ...]
    cross_fitted: npt.NDArray[np.float32]


def check_class_counts(labels: Labels, names: Sequence[str], *, held_back: bool = False) -> None:
    """See that each class can be held out and learned from.

    Args:
        labels: int (N,), of the training images.
        names: of the classes.
        held_back: whether an image of each class is held back before that.

    Raises:
        DataError: a class has too few images; names it.

    """
    fewest, remedy = (3, "--mode head") if held_back else (2, "--head-fit sgd")
    of_class = np.bincount(labels, minlength=len(names))
    if (least := int(of_class.min())) < fewest:
        raise DataError(
            f"class '{names[int(of_class.argmin())]}': {least} training image(s), expected at least {fewest} to hold "
            f"some out and learn from the others; add images, or use {remedy}"
        )


def silent(done: int, total: int) -> None:
    """Report nothing."""
    del done, total


def fit_penalised_head(
    features: npt.NDArray[np.floating],
    labels: Labels,
    given: LinearHead,
    folding: Folding,
    loss: Loss = CROSS_ENTROPY,
    report: Callable[[int, int], None] = silent,
) -> PenalisedHead:
    """Fit a softmax head: mean loss plus strength / 2 times the squared distance from the given head.

    The strength is the strongest whose cross-validated log-loss is within one standard error of the best. The error
    counts as no smaller than what one undecided image adds to the mean: on a few images that are all told apart with
    ease the folds agree by accident, and a loss of 0.001 is no better founded than one of 0.005.

    With many classes or images the strengths are compared on some of the folds, so that the fit takes no longer than
    computing the features; the error is then that of a mean over images. The same arguments give the same bits on one
    machine, with any number of threads.

    Args:
        features: (N, D), training images only.
        labels: (N,), 0..C-1.
        given: the head to be drawn to.
        folding: how the images are divided for cross-validation.
        loss: weights and label smoothing.
        report: called with the parts done and all there are, several times a second.

    Raises:
        DataError: a class has fewer than two images, so that nothing can be held out, or a feature is not finite.

    Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 2nd ed., 7.10 (one-standard-error rule).

    """
    count, at_once = _fold_counts(labels, len(given.bias), folding)
    searched = at_once if len(labels) < _IMAGES_FOR_ONE_FOLD else 1
    parts = Parts(len(STRENGTHS) + 2, report)
    with worker_threads() as workers:
        coordinates = Coordinates.of(features, parts.tick)
        problem = _regression(coordinates, labels, given, loss, workers)
        fold_of = torch.tensor(folding.of_classes(labels, count))
        validation = CrossValidation(
            problem, torch.tensor(labels), fold_of, count, searched, at_once, judging_tolerance(len(labels))
        )
        table, start = _search(validation, parts)
        strength = choose_strength(table, _resolution(validation))
        weights, _ = minimise(problem, strength, start, parts.tick)
        parts.finish(len(STRENGTHS) + 1)
        cross_fitted = validation.cross_fitted(strength, weights, parts.tick)
        by_weight, by_bias = coordinates.to_features(weights[:, 0])
    parts.finish(parts.total)
    weight, bias = given.weight + by_weight, given.bias + by_bias
    return PenalisedHead(
        weight.astype(np.float32), bias.astype(np.float32), strength, table, cross_fitted.float().numpy()
    )


def _search(validation: CrossValidation, parts: "Parts") -> tuple[tuple[StrengthTried, ...], Tensor]:
    """The table, and weights (R, 1, C) near those of the strength that it leads to."""
    table: list[StrengthTried] = []
    kept: dict[float, Tensor] = {}
    for tried, weights in validation.search(parts.tick):
        table.append(tried)
        parts.finish(len(table))
        strength = choose_strength(table, _resolution(validation))
        # A stronger one may still be chosen, where errors grow; it will start from here then.
        kept = {other: found for other, found in kept.items() if other <= strength} | {tried.strength: weights}
    parts.finish(len(STRENGTHS))
    return tuple(table), kept.get(strength, weights)


def _resolution(validation: CrossValidation) -> float:
    """What one undecided image adds to the mean log-loss, nats."""
    return math.log(2) / len(validation.labels)


def fold_count(images: int) -> int:
    """Folds that so many images are worth dividing into."""
    return MAX_FOLDS if images < _MANY_IMAGES else _FOLDS_OF_MANY


def judging_tolerance(images: int) -> Tolerance:
    """Of fits to so many images that judge those that they hold out."""
    return TOLERANCE if images < _IMAGES_FOR_ONE_FOLD else ROUGH_TOLERANCE


def _fold_counts(labels: Labels, classes: int, folding: Folding) -> tuple[int, int]:
    """Folds to divide the images into, and folds to fit at a time."""
    of_class = np.bincount(labels, minlength=classes)
    least = int(of_class.min())
    if least < 2:
        raise DataError(
            f"class {int(of_class.argmin())}: {least} training image(s), expected at least 2 to choose the head's "
            "penalty; add images or use --head-fit sgd"
        )
    all_can_be_searched = fold_count(len(labels)) == MAX_FOLDS and classes * MAX_FOLDS <= MAX_COLUMNS
    count = min(MAX_FOLDS if all_can_be_searched else _FOLDS_OF_MANY, folding.most(labels))
    return count, max(1, min(count, MAX_COLUMNS // classes))


def _regression(
    coordinates: Coordinates, labels: Labels, given: LinearHead, loss: Loss, workers: Executor
) -> Regressions:
    """The fit on all images."""
    design, classes = coordinates.values, len(given.bias)
    targets, shares = loss.targets(labels, classes), loss.shares(labels)[:, None]
    return Regressions(
        design, coordinates.variances, coordinates.logits(given.weight, given.bias),
        targets.to(design.dtype), shares.to(design.dtype), workers,
    )  # fmt: skip


class Parts:
    """Counts the parts of the work that are done, and reports them."""

    def __init__(self, total: int, report: Callable[[int, int], None]) -> None:
        self.total = total
        self._done = 0
        self._report = report

    def tick(self) -> None:
        """Show that something goes on."""
        self._report(self._done, self.total)

    def finish(self, done: int) -> None:
        """So many parts are done."""
        self._done = done
        self.tick()
