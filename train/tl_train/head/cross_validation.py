"""The strength of a penalty by cross-validation: the fits of all folds together, from the strongest penalty on.

Each strength starts where the two before it point to, so that a fit takes a few steps.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from tl_train.head.solver import Regressions, minimise

Labels = npt.NDArray[np.int64]

# Strongest first. Features are scaled to a mean square length of 1, so the numbers mean the same for every network.
STRENGTHS = tuple(10.0 ** (exponent / 2) for exponent in range(4, -15, -1))


@dataclasses.dataclass(frozen=True, slots=True)
class StrengthTried:
    """A row of the cross-validation table: a strength, the mean log-loss (nats) of held-out pictures, its error."""

    strength: float
    log_loss: float
    standard_error: float


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """What cross-validation found at one strength.

    Attributes:
        tried: the row of the table.
        held_out: float32 (n, C), logits of the pictures of the folds that were searched, in the pictures' order.
        weights: float32 (R, 1, C), the mean over the fits that hold out one of these folds.

    """

    tried: StrengthTried
    held_out: Tensor
    weights: Tensor


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CrossValidation:
    """Fits that hold out one fold each.

    Attributes:
        problem: the fit on all pictures, a single regression.
        labels: int64 (N,).
        fold_of: int64 (N,), the fold that each picture is in, 0 to count - 1.
        count: folds.
        searched: the first so many folds compare the strengths.

    """

    problem: Regressions
    labels: Tensor
    fold_of: Tensor
    count: int
    searched: int

    def candidates(self, tick: Callable[[], None]) -> Iterator[Candidate]:
        """A candidate per strength, strongest first; ends where weaker penalties have become clearly worse."""
        problem = self._leaving_out(range(self.searched))
        held_out = self.fold_of < self.searched
        before = weights = problem.zeros()
        best: StrengthTried | None = None
        for strength in STRENGTHS:
            start = 2 * weights - before
            before = weights
            weights, logits = minimise(problem, strength, start, tick)
            chosen = logits[held_out, self.fold_of[held_out]]
            tried = StrengthTried(strength, *self._judge(chosen))
            yield Candidate(tried, chosen, weights.mean(dim=1, keepdim=True))
            if best is None or tried.log_loss < best.log_loss:
                best = tried
            elif tried.log_loss > best.log_loss + 2 * best.standard_error:
                return

    def cross_fitted(self, chosen: Candidate, tick: Callable[[], None]) -> Tensor:
        """Logits float32 (N, C) of all pictures, each from the fit without its fold, at the strength of `chosen`."""
        logits = torch.empty_like(self.problem.offsets)
        logits[self.fold_of < self.searched] = chosen.held_out
        for fold in range(self.searched, self.count):
            problem = self._leaving_out([fold])
            _, found = minimise(problem, chosen.tried.strength, chosen.weights, tick)
            logits[self.fold_of == fold] = found[self.fold_of == fold, 0]
        return logits

    def _leaving_out(self, folds: Iterable[int]) -> Regressions:
        """A regression per fold, on the pictures of the others."""
        shares = self.problem.shares * torch.stack([self.fold_of != fold for fold in folds], dim=1)
        return dataclasses.replace(self.problem, shares=shares / shares.sum(dim=0))

    def _judge(self, held_out: Tensor) -> tuple[float, float]:
        """The mean log-loss of held-out pictures (n, C), and its standard error: over folds, if all were searched."""
        which = self.fold_of < self.searched
        weights = self.problem.shares[which, 0].double()
        losses = torch.nn.functional.cross_entropy(held_out.double(), self.labels[which], reduction="none")
        if self.searched < self.count:
            mean = (weights * losses).sum() / weights.sum()
            return float(mean), float((weights * (losses - mean)).norm() / weights.sum())
        of_fold = [self.fold_of[which] == fold for fold in range(self.count)]
        means = torch.stack([(weights[fold] * losses[fold]).sum() / weights[fold].sum() for fold in of_fold])
        return float(means.mean()), float(means.std()) / math.sqrt(self.count)


def folds(labels: Labels, count: int, seed: int) -> Labels:
    """A fold 0..count-1 for each picture, int (N,); every class, of at least `count` pictures, is spread evenly."""
    assigned = np.empty(len(labels), dtype=np.int64)
    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(labels, labels)):
        assigned[held_out] = fold
    return assigned
