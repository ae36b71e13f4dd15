"""Logistic regressions, of one label each, on the same images: what the solver minimises for several labels."""

import dataclasses
from concurrent.futures import Executor

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tl_train.head.coordinates import Coordinates
from tl_train.head.regressions import Problem

# The log of odds that a regression starts from is that of its label, which so rare a label still has.
_LEAST_SHARE = 1e-6


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LogisticRegressions(Problem):
    """B regressions, which differ in their label and in the images that they hold out; each has one column of weights.

    An image's loss is the binary cross-entropy; a regression's is the sum of these times its shares. The penalty is on
    what a regression adds to the log of its label's odds, so a rare label stays rare under a strong one.

    Attributes:
        design: (N, R), uncorrelated columns.
        variances: (R,), mean squares of the columns.
        targets: (N, B), 1 where the image has the label, else 0.
        shares: (N, B), of each image in the mean loss of each regression; 0 where the label is unknown or held out.
        offsets: (B,), the logs of the labels' odds.
        workers: run parts of the images.

    """

    design: Tensor
    variances: Tensor
    targets: Tensor
    shares: Tensor
    offsets: Tensor
    workers: Executor

    @staticmethod
    def of(coordinates: Coordinates, targets: Tensor, counted: Tensor, workers: Executor) -> "LogisticRegressions":
        """The regressions on those images that are counted, each as much as the others.

        Args:
            coordinates: of the features.
            targets: (N, B), 1 or 0.
            counted: bool (N, B).
            workers: run parts of the images.

        """
        design = coordinates.values
        shares = counted.to(design.dtype)
        shares /= shares.sum(dim=0).clamp(min=1)
        odds = (shares * targets).sum(dim=0).clamp(_LEAST_SHARE, 1 - _LEAST_SHARE).logit()
        return LogisticRegressions(design, coordinates.variances, targets.to(design.dtype), shares, odds, workers)

    @property
    def columns(self) -> tuple[int, int]:
        """B and 1."""
        return self.shares.shape[1], 1

    def logits(self, weights: Tensor) -> Tensor:
        """The logits (N, B, 1) that weights (R, B, 1) give."""
        return self.products(weights).add_(self.offsets[:, None])

    def least_loss(self) -> Tensor:
        """Nothing (B,): a label is there or not."""
        return torch.zeros_like(self.offsets)

    def gradient(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The loss float64 (B,) at logits (N, B, 1), and its gradient (R, B, 1) by the weights."""

        def of(rows: slice) -> tuple[Tensor, Tensor]:
            scores, targets, shares = logits[rows, :, 0], self.targets[rows], self.shares[rows]
            losses = softplus(scores) - scores * targets
            residual = scores.sigmoid().sub_(targets).mul_(shares)
            return (shares * losses).sum(dim=0, dtype=torch.float64), self.design[rows].T @ residual

        parts = self.parts(of)
        loss, gradient = next(parts)
        for more_loss, more_gradient in parts:
            loss += more_loss
            gradient += more_gradient
        return loss, gradient[..., None]

    def curvature(self, logits: Tensor, change: Tensor) -> Tensor:
        """The second derivative (B,) of the loss where logits (N, B, 1) start to move by `change`."""

        def of(rows: slice) -> Tensor:
            return (self._curved(logits, rows) * change[rows, :, 0].square()).sum(dim=0)

        return sum(self.parts(of), logits.new_zeros(logits.shape[1]))

    def class_curvature(self, logits: Tensor) -> Tensor:
        """The mean (B, 1) of p (1 - p)."""
        found = sum(self.parts(lambda rows: self._curved(logits, rows).sum(dim=0)), logits.new_zeros(logits.shape[1]))
        return found[:, None]

    def _curved(self, logits: Tensor, rows: slice) -> Tensor:
        probabilities = logits[rows, :, 0].sigmoid()
        return probabilities.mul(1 - probabilities).mul_(self.shares[rows])
