"""A penalised logistic regression for each label on frozen features; each label's strength by cross-validation."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tl_train.errors import DataError
from tl_train.head.coordinates import Coordinates
from tl_train.head.cross_validation import STRENGTHS, StrengthTried, choose_strength, is_clearly_worse
from tl_train.head.folds import Folding
from tl_train.head.logistic import LogisticRegressions
from tl_train.head.penalised import MAX_COLUMNS, Parts, fold_count, judging_tolerance
from tl_train.head.solver import Tolerance, minimise, worker_threads

Floats32 = npt.NDArray[np.float32]

# Of images that have a label, and of those that have it not: fewer cannot be held out and learned from.
MIN_IMAGES = 2


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LabelHeads:
    """Fitted heads, one for each label.

    Attributes:
        weight: float32 (C, D).
        bias: float32 (C,).
        strengths: of the penalty that was chosen for each label.
        tables: for each label, what cross-validation measured, strongest penalty first.
        cross_fitted: float32 (N, C), logits of the training images, each from heads that were fitted without its fold.

    """

    weight: Floats32
    bias: Floats32
    strengths: tuple[float, ...]
    tables: tuple[tuple[StrengthTried, ...], ...]
    cross_fitted: Floats32


def check_label_counts(targets: Floats32, labels: Sequence[str]) -> None:
    """See that each label can be learned from and held out.

    Raises:
        DataError: too few images are known to have a label, or not to have it; names the label.

    """
    for place, label in enumerate(labels):
        for value, which in ((1, "have"), (0, "are known not to have")):
            count = int((targets[:, place] == value).sum())
            if count < MIN_IMAGES:
                raise DataError(
                    f"label '{label}': {count} training image(s) {which} it, expected at least {MIN_IMAGES}; add "
                    "images, or remove the label"
                )


def fit_label_heads(
    features: npt.NDArray[np.floating], targets: Floats32, folding: Folding, report: Callable[[int, int], None]
) -> LabelHeads:
    """Fit a head for each label: mean binary cross-entropy plus strength / 2 times the square of its weights.

    The strength of each label is the strongest whose cross-validated log-loss is within one standard error, between
    images, of the best. The same arguments give the same bits on one machine, with any number of threads.

    Args:
        features: (N, D), training images only.
        targets: (N, C), 1 present, 0 absent, NaN unknown; as `check_label_counts` wants them.
        folding: how the images are divided for cross-validation.
        report: called with the parts done and all there are, several times a second.

    Raises:
        DataError: a feature is not finite.

    Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 2nd ed., 7.10 (one-standard-error rule).

    """
    parts = Parts(len(STRENGTHS) + 2, report)
    with worker_threads() as workers:
        coordinates = Coordinates.of(features, parts.tick)
        fold_of = torch.from_numpy(folding.of_labels(targets == 1, fold_count(len(features))))
        fits = _Fits(coordinates, torch.from_numpy(targets), fold_of, int(fold_of.max()) + 1, workers)
        tables = _search(fits, parts)
        known = np.isfinite(targets).sum(axis=0)
        strengths = [choose_strength(table, math.log(2) / images) for table, images in zip(tables, known, strict=True)]
        weight, bias, cross_fitted = _fitted(fits, strengths, parts)
    parts.finish(parts.total)
    return LabelHeads(weight, bias, tuple(strengths), tuple(map(tuple, tables)), cross_fitted)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Fits:
    """The fits of all labels and folds.

    Attributes:
        coordinates: of the features.
        targets: (N, C), NaN where unknown.
        fold_of: int (N,).
        count: folds.
        workers: run parts of the images.

    """

    coordinates: Coordinates
    targets: Tensor
    fold_of: Tensor
    count: int
    workers: Executor

    @property
    def tolerance(self) -> Tolerance:
        """Of the fits that hold images out."""
        return judging_tolerance(len(self.fold_of))

    def problem(self, labels: Sequence[int], folds: Sequence[int]) -> LogisticRegressions:
        """A regression for each label and fold, which it leaves out; -1 leaves out nothing. Labels change fastest."""
        targets = self.targets[:, labels].repeat(1, len(folds))
        left_out = self.fold_of[:, None] == torch.tensor(folds).repeat_interleave(len(labels))
        counted = targets.isfinite() & ~left_out
        return LogisticRegressions.of(self.coordinates, targets.nan_to_num(0.0), counted, self.workers)

    def held_out(self, logits: Tensor, labels: Sequence[int], folds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The images in these folds, and their logits (n, labels) from the fit without them."""
        within = torch.isin(self.fold_of, torch.tensor(folds)).nonzero()[:, 0]
        of_fold = logits[within, :, 0].reshape(len(within), len(folds), len(labels))
        return within, of_fold[torch.arange(len(within)), self.fold_of[within] - folds[0]]

    def groups_of_folds(self, labels: int) -> Iterator[range]:
        """The folds, as many at a time as make a product of moderate width."""
        size = max(1, min(self.count, MAX_COLUMNS // labels))
        for first in range(0, self.count, size):
            yield range(first, min(first + size, self.count))

    def groups_of_labels(self, labels: Sequence[int], size: int = MAX_COLUMNS) -> Iterator[Sequence[int]]:
        """The labels, at most so many at a time."""
        for first in range(0, len(labels), size):
            yield labels[first : first + size]

    def groups_to_search(self) -> Iterator[Sequence[int]]:
        """All labels, together with as many as leave room for folds that hold images with and without each of them."""
        rare: list[int] = []
        for labels in self.groups_of_labels(range(self.targets.shape[1])):
            searched = next(self.groups_of_folds(len(labels)))
            held_out = self.targets[self.fold_of < searched.stop][:, labels]
            is_told = ((held_out == 1).any(dim=0) & (held_out == 0).any(dim=0)).tolist()
            rare += [label for label, told in zip(labels, is_told, strict=True) if not told]
            if any(is_told):
                yield [label for label, told in zip(labels, is_told, strict=True) if told]
        yield from self.groups_of_labels(rare, max(1, MAX_COLUMNS // self.count))  # which leaves room for all folds


def _search(fits: _Fits, parts: Parts) -> list[list[StrengthTried]]:
    """The table of each label, which ends where weaker penalties have become clearly worse."""
    tables: list[list[StrengthTried]] = [[] for _ in range(fits.targets.shape[1])]
    groups = list(fits.groups_to_search())
    for number, labels in enumerate(groups):
        for step, _ in enumerate(_search_group(fits, labels, tables, parts.tick), start=1):
            parts.finish((number * len(STRENGTHS) + step) // len(groups))
    parts.finish(len(STRENGTHS))
    return tables


def _search_group(
    fits: _Fits, labels: Sequence[int], tables: list[list[StrengthTried]], tick: Callable[[], None]
) -> Iterator[float]:
    """Add a row for each strength, which it yields, to the tables of some labels."""
    active, folds = list(labels), next(fits.groups_of_folds(len(labels)))
    problem = fits.problem(active, folds)
    before = weights = problem.zeros()
    for strength in STRENGTHS:
        start = 2 * weights - before
        before = weights
        weights, logits = minimise(problem, strength, start, tick, fits.tolerance)
        within, held_out = fits.held_out(logits, active, folds)
        for place, label in enumerate(active):
            tables[label].append(_judged(strength, held_out[:, place], fits.targets[within, label]))
        yield strength
        kept = [place for place, label in enumerate(active) if not is_clearly_worse(tables[label])]
        if not kept:
            return
        if len(kept) < len(active):
            columns = [fold * len(active) + place for fold in range(len(folds)) for place in kept]
            active = [active[place] for place in kept]
            problem = fits.problem(active, folds)
            weights, before = weights[:, columns], before[:, columns]


def _judged(strength: float, logits: Tensor, targets: Tensor) -> StrengthTried:
    """The mean log-loss of held-out logits (n,) whose target is known, and the standard error of that mean."""
    known = targets.isfinite()
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[known].double(), targets[known].double(), reduction="none"
    )
    return StrengthTried(strength, float(losses.mean()), float(losses.std(correction=0)) / math.sqrt(len(losses)))


def _fitted(fits: _Fits, strengths: Sequence[float], parts: Parts) -> tuple[Floats32, Floats32, Floats32]:
    """Weight (C, D), bias (C,) and cross-fitted logits (N, C), labels of one strength at a time."""
    classes, width = len(strengths), fits.coordinates.features.shape[1]
    weight, bias = np.zeros((classes, width), np.float32), np.zeros(classes, np.float32)
    cross_fitted = np.zeros((len(fits.fold_of), classes), np.float32)
    for strength in sorted(set(strengths), reverse=True):
        alike = [label for label, chosen in enumerate(strengths) if chosen == strength]
        for labels in fits.groups_of_labels(alike):
            problem = fits.problem(labels, [-1])
            weights, _ = minimise(problem, strength, problem.zeros(), parts.tick)
            found, offset = fits.coordinates.to_features(weights[:, :, 0])
            weight[labels], bias[labels] = found, offset + problem.offsets.numpy()
            for folds in fits.groups_of_folds(len(labels)):
                problem, start = fits.problem(labels, folds), weights.repeat(1, len(folds), 1)
                _, logits = minimise(problem, strength, start, parts.tick, fits.tolerance)
                within, held_out = fits.held_out(logits, labels, folds)
                cross_fitted[within.numpy()[:, np.newaxis], np.array(labels)] = held_out.numpy()
    return weight, bias, cross_fitted
