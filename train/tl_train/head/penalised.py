"""A linear head fitted on frozen features with a penalty towards a given head; its strength by cross-validation.

Without pictures of every kind of dog, many heads separate the training pictures equally well. The penalty says which
one to take: the nearest to the given head, as near as the training pictures do not contradict it.
"""

import dataclasses
import math
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tl_train.errors import DataError
from tl_train.head.coordinates import Coordinates
from tl_train.head.cross_validation import STRENGTHS, CrossValidation, Labels, StrengthTried, folds
from tl_train.head.solver import Regressions, minimise, worker_threads

__all__ = [
    "STRENGTHS",
    "LinearHead",
    "Loss",
    "PenalisedHead",
    "StrengthTried",
    "choose_strength",
    "fit_penalised_head",
    "folds",
]

MAX_FOLDS = 10
# From so many pictures on, half the folds tell as much.
_MANY_PICTURES = 2000
_FOLDS_OF_MANY = 5
# Folds times classes that are searched at a time. The time of the fit grows with them, and with so many it is about a
# third of the time that onnxruntime needs for the features of a small network.
_MAX_COLUMNS = 256


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
class Loss:
    """What is fitted: torch's `cross_entropy` with these weights and this smoothing, a weighted mean over pictures.

    Attributes:
        class_weights: (C,), above 0; None for all the same.
        picture_weights: (N,), 0 or more, not all 0 in a class; None for all the same.
        label_smoothing: share of the target probability that is spread over all classes, 0 to below 1. It shapes the
            fit; held-out pictures are judged by their label alone.

    """

    class_weights: npt.NDArray[np.floating] | None = None
    picture_weights: npt.NDArray[np.floating] | None = None
    label_smoothing: float = 0.0

    def shares(self, labels: Labels) -> Tensor:
        """What each picture counts in the mean: float32 (N,), sum 1."""
        weights = np.ones(len(labels)) if self.picture_weights is None else self.picture_weights.astype(np.float64)
        if self.class_weights is not None:
            weights = weights * self.class_weights[labels]
        return torch.from_numpy(weights / weights.sum()).float()

    def targets(self, labels: Labels, classes: int) -> Tensor:
        """What each picture's log-probabilities count in its loss: float32 (N, C)."""
        targets = torch.full((len(labels), classes), self.label_smoothing / classes)
        targets[torch.arange(len(labels)), torch.from_numpy(labels)] += 1 - self.label_smoothing
        if self.class_weights is not None and self.label_smoothing > 0:
            # torch weighs each class of the smoothed target; the share has the weight of the label already.
            weights = torch.from_numpy(self.class_weights).float()
            targets *= weights / weights[labels, None]
        return targets


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class PenalisedHead:
    """A fitted head.

    Attributes:
        weight: float32 (C, D).
        bias: float32 (C,).
        strength: of the penalty that was chosen.
        table: what cross-validation measured, strongest penalty first.
        cross_fitted: float32 (N, C), logits of the training pictures, each from a head that was fitted without its
            fold, at the chosen strength. All pictures had a part in the choice of that one number.

    """

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    strength: float
    table: tuple[StrengthTried, ...]
    cross_fitted: npt.NDArray[np.float32]


def _silent(done: int, total: int) -> None:
    del done, total


def fit_penalised_head(
    features: npt.NDArray[np.floating],
    labels: Labels,
    given: LinearHead,
    seed: int,
    loss: Loss = Loss(),
    report: Callable[[int, int], None] = _silent,
) -> PenalisedHead:
    """Fit a softmax head: mean loss plus strength / 2 times the squared distance from the given head.

    The strength is the strongest whose cross-validated log-loss is within one standard error of the best. The error
    counts as no smaller than what one undecided picture adds to the mean: on a few pictures that are all told apart
    with ease the folds agree by accident, and a loss of 0.001 is no better founded than one of 0.005.

    With many classes the strengths are compared on some of the folds, so that the fit takes no longer than computing
    the features; the error is then that of a mean over pictures. The same arguments give the same bits on one machine,
    with any number of threads.

    Args:
        features: (N, D), training pictures only.
        labels: (N,), 0..C-1.
        given: the head to be drawn to.
        seed: of the folds.
        loss: weights and label smoothing.
        report: called with the parts done and all there are, several times a second.

    Raises:
        DataError: a class has fewer than two pictures, so that nothing can be held out, or a feature is not finite.

    Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 2nd ed., 7.10 (one-standard-error rule).

    """
    count, searched = _fold_counts(labels, len(given.bias))
    parts = _Parts(len(STRENGTHS) + count - searched + 1, report)
    with worker_threads() as workers:
        coordinates = Coordinates.of(features, parts.tick)
        problem = _regression(coordinates, labels, given, loss, workers)
        validation = CrossValidation(
            problem, torch.tensor(labels), torch.tensor(folds(labels, count, seed)), count, searched
        )
        candidates = []
        for candidate in validation.candidates(parts.tick):
            candidates.append(candidate)
            parts.finish(len(candidates))
        parts.finish(len(STRENGTHS))
        table = tuple(candidate.tried for candidate in candidates)
        strength = choose_strength(table, math.log(2) / len(labels))
        chosen = candidates[STRENGTHS.index(strength)]
        cross_fitted = validation.cross_fitted(chosen, parts.tick)
        weights, _ = minimise(problem, strength, chosen.weights, parts.tick)
        weight, bias = coordinates.to_features(weights[:, 0])
    parts.finish(parts.total)
    weight, bias = (given.weight + weight).astype(np.float32), (given.bias + bias).astype(np.float32)
    return PenalisedHead(weight, bias, strength, table, cross_fitted.numpy())


def choose_strength(table: tuple[StrengthTried, ...], resolution: float) -> float:
    """The strongest penalty within one standard error of the best, an error that counts as at least `resolution`."""
    best = min(table, key=lambda tried: tried.log_loss)
    allowed = best.log_loss + max(best.standard_error, resolution)
    return max(tried.strength for tried in table if tried.log_loss <= allowed)


def _fold_counts(labels: Labels, classes: int) -> tuple[int, int]:
    """Folds to divide the pictures into, and folds to compare the strengths on."""
    of_class = np.bincount(labels, minlength=classes)
    least = int(of_class.min())
    if least < 2:
        raise DataError(
            f"class {int(of_class.argmin())}: {least} training picture(s), expected at least 2 to choose the head's "
            "penalty; add pictures or use --head-fit sgd"
        )
    all_can_be_searched = len(labels) < _MANY_PICTURES and classes * MAX_FOLDS <= _MAX_COLUMNS
    count = min(MAX_FOLDS if all_can_be_searched else _FOLDS_OF_MANY, least)
    return count, max(1, min(count, _MAX_COLUMNS // classes))


def _regression(
    coordinates: Coordinates, labels: Labels, given: LinearHead, loss: Loss, workers: Executor
) -> Regressions:
    """The fit on all pictures."""
    return Regressions(
        coordinates.values, coordinates.variances, coordinates.logits(given.weight, given.bias),
        loss.targets(labels, len(given.bias)), loss.shares(labels)[:, None], workers,
    )  # fmt: skip


class _Parts:
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
