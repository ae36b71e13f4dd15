"""The strength of a penalty by cross-validation: the fits of all folds together, from the strongest penalty on.

Each strength starts where the two before it point to, so that a fit takes a few steps.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tl_train.head.regressions import Regressions
from tl_train.head.solver import Tolerance, minimise

Labels = npt.NDArray[np.int64]

# Strongest first. Features are scaled to a mean square length of 1, so the numbers mean the same for every network.
STRENGTHS = tuple(10.0 ** (exponent / 2) for exponent in range(4, -15, -1))


@dataclasses.dataclass(frozen=True, slots=True)
class StrengthTried:
    """A row of the cross-validation table: a strength, the mean log-loss (nats) of held-out images, its error."""

    strength: float
    log_loss: float
    standard_error: float


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CrossValidation:
    """Fits that hold out one fold each.

    Attributes:
        problem: the fit on all images, a single regression.
        labels: int64 (N,).
        fold_of: int64 (N,), the fold that each image is in, 0 to count - 1.
        count: folds.
        searched: the strengths are compared on the first so many folds.
        at_once: folds that are fitted at a time, at least as many as are searched.
        tolerance: of these fits.

    """

    problem: Regressions
    labels: Tensor
    fold_of: Tensor
    count: int
    searched: int
    at_once: int
    tolerance: Tolerance

    def search(self, tick: Callable[[], None]) -> Iterator[tuple[StrengthTried, Tensor]]:
        """For each strength, strongest first, its row of the table, and weights (R, 1, C): the mean over the folds.

        Ends where weaker penalties have become clearly worse.
        """
        chosen = range(self.searched)
        problem = self._leaving_out(chosen)
        before = weights = problem.zeros()
        table: list[StrengthTried] = []
        for strength in STRENGTHS:
            start = 2 * weights - before
            before = weights
            weights, logits = minimise(problem, strength, start, tick, self.tolerance)
            table.append(StrengthTried(strength, *self._judge(self._held_out(chosen, logits))))
            yield table[-1], weights.mean(dim=1, keepdim=True)
            if is_clearly_worse(table):
                return

    def cross_fitted(self, strength: float, start: Tensor, tick: Callable[[], None]) -> Tensor:
        """Logits (N, C) of all images, each from the fit without its fold; `start` are weights (R, 1, C)."""
        found = torch.empty_like(self.problem.offsets)
        for first in range(0, self.count, self.at_once):
            chosen = range(first, min(first + self.at_once, self.count))
            problem, starts = self._leaving_out(chosen), start.repeat(1, len(chosen), 1)
            _, logits = minimise(problem, strength, starts, tick, self.tolerance)
            found[self._within(chosen)] = self._held_out(chosen, logits)
        return found

    def _leaving_out(self, chosen: range) -> Regressions:
        """A regression for each chosen fold, on the images of the other folds."""
        shares = self.problem.shares * (self.fold_of[:, None] != torch.tensor(chosen))
        return dataclasses.replace(self.problem, shares=shares / shares.sum(dim=0))

    def _within(self, chosen: range) -> Tensor:
        return (self.fold_of >= chosen.start) & (self.fold_of < chosen.stop)

    def _held_out(self, chosen: range, logits: Tensor) -> Tensor:
        """Of logits (N, B, C) those (n, C) that the fits of the chosen folds give the images that they hold out."""
        within = self._within(chosen)
        return logits[within, self.fold_of[within] - chosen.start]

    def _judge(self, held_out: Tensor) -> tuple[float, float]:
        """The mean log-loss of the held-out logits (n, C) of the searched folds, and its standard error.

        The error is the one between folds, as usual, or where not all are searched, the one between images.
        """
        within = self.fold_of < self.searched
        weights, fold_of = self.problem.shares[within, 0].double(), self.fold_of[within]
        losses = torch.nn.functional.cross_entropy(held_out.double(), self.labels[within], reduction="none")
        if self.searched < self.count:
            mean = (weights * losses).sum() / weights.sum()
            return float(mean), float((weights * (losses - mean)).norm() / weights.sum())
        of_fold = [fold_of == fold for fold in range(self.count)]
        means = torch.stack([(weights[fold] * losses[fold]).sum() / weights[fold].sum() for fold in of_fold])
        return float(means.mean()), float(means.std()) / math.sqrt(self.count)


def is_clearly_worse(table: Sequence[StrengthTried]) -> bool:
    """Whether the last row is worse than the best by more than two standard errors: weaker penalties will be, too."""
    best = min(table, key=lambda tried: tried.log_loss)
    return table[-1].log_loss > best.log_loss + 2 * best.standard_error


def choose_strength(table: Sequence[StrengthTried], resolution: float) -> float:
    """The strongest penalty within one standard error of the best, an error that counts as at least `resolution`."""
    best = min(table, key=lambda tried: tried.log_loss)
    allowed = best.log_loss + max(best.standard_error, resolution)
    return max(tried.strength for tried in table if tried.log_loss <= allowed)
