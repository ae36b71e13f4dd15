"""Linear fits on the same images, which differ in the images that they hold out: what the solver minimises.

The columns of the product are fits times classes; an image that a fit holds out has no share in its loss.
"""

import abc
import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part")

# Images that one thread takes at a time: as many logits as fit its cache, and few enough that all threads have work.
_CHUNK_LOGITS, _LEAST_CHUNK, _LARGEST_CHUNK = 1 << 16, 512, 2048
# Parts begun before the first of them is taken, on any number of threads: what bounds their memory.
_CHUNKS_AHEAD = 32


class Problem(abc.ABC):
    """B convex fits at once, each of C columns of weights.

    Attributes:
        design: (N, R), uncorrelated columns.
        variances: (R,), mean squares of the columns.
        workers: run parts of the images; the parts, and with them the results, are the same for any number of threads.

    """

    design: Tensor
    variances: Tensor
    workers: Executor

    @property
    @abc.abstractmethod
    def columns(self) -> tuple[int, int]:
        """B and C."""

    @abc.abstractmethod
    def logits(self, weights: Tensor) -> Tensor:
        """The logits (N, B, C) that weights (R, B, C) give."""

    @abc.abstractmethod
    def least_loss(self) -> Tensor:
        """A loss (B,) that no weights get below."""

    @abc.abstractmethod
    def gradient(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The loss float64 (B,) at logits (N, B, C), and its gradient (R, B, C) by the weights."""

    @abc.abstractmethod
    def curvature(self, logits: Tensor, change: Tensor) -> Tensor:
        """The second derivative (B,) of the loss where logits (N, B, C) start to move by `change`."""

    @abc.abstractmethod
    def class_curvature(self, logits: Tensor) -> Tensor:
        """How the loss curves where the logit of one class moves for all images: (B, C)."""

    def zeros(self) -> Tensor:
        """Weights (R, B, C) of zero."""
        return self.design.new_zeros(self.design.shape[1], *self.columns)

    def products(self, weights: Tensor) -> Tensor:
        """The design matrix times weights (R, B, C): (N, B, C)."""
        columns = weights.flatten(1)
        found = self.design.new_empty(len(self.design), columns.shape[1])
        start = 0
        for part in self.parts(lambda rows: self.design[rows] @ columns):
            found[start : start + len(part)] = part
            start += len(part)
        return found.reshape(-1, *weights.shape[1:])

    def parts(self, work: Callable[[slice], Part]) -> Iterator[Part]:
        """What `work` makes of each part of the images, in order."""
        size = min(max(_CHUNK_LOGITS // math.prod(self.columns), _LEAST_CHUNK), _LARGEST_CHUNK)
        if len(self.design) <= size:
            yield work(slice(size))  # handing it over would take longer
            return
        pending: deque[Future[Part]] = deque()
        for start in range(0, len(self.design), size):
            if len(pending) == _CHUNKS_AHEAD:
                yield pending.popleft().result()
            pending.append(self.workers.submit(work, slice(start, start + size)))
        while pending:
            yield pending.popleft().result()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Regressions(Problem):
    """B regressions on the same images, which differ in the images that they hold out.

    An image's loss is -sum(targets * log_softmax(logits)); a regression's is the sum of these times its shares.

    Attributes:
        design: (N, R), uncorrelated columns.
        variances: (R,), mean squares of the columns.
        offsets: (N, C), logits of the head that the fit starts from and is drawn to.
        targets: (N, C), target probabilities, times the weights of the classes.
        shares: (N, B), of each image in the mean loss of each regression; 0 where it is held out.
        workers: run parts of the images; the parts, and with them the results, are the same for any number of threads.

    """

    design: Tensor
    variances: Tensor
    offsets: Tensor
    targets: Tensor
    shares: Tensor
    workers: Executor

    @property
    def columns(self) -> tuple[int, int]:
        """B and C."""
        return self.shares.shape[1], self.targets.shape[1]

    def logits(self, weights: Tensor) -> Tensor:
        """The logits (N, B, C) that weights (R, B, C) give."""
        return self.products(weights).add_(self.offsets[:, None])

    def least_loss(self) -> Tensor:
        """The loss (B,) where the probabilities are the targets; above 0 for smoothed ones."""

        def of(rows: slice) -> Tensor:
            targets = self.targets[rows]
            return -torch.xlogy(targets, targets / targets.sum(dim=1, keepdim=True)).sum(dim=1) @ self.shares[rows]

        return sum(self.parts(of), self.shares.new_zeros(self.shares.shape[1]))

    def gradient(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The loss float64 (B,) at logits (N, B, C), and its gradient (R, B, C) by the weights."""

        def of(rows: slice) -> tuple[Tensor, Tensor]:
            targets, shares = self.targets[rows, None], self.shares[rows]
            mass = targets.sum(dim=2)
            log_sum = logits[rows].logsumexp(dim=2)
            losses = mass * log_sum - (logits[rows] * targets).sum(dim=2)
            residual = (logits[rows] - log_sum[..., None]).exp_().mul_(mass[..., None]).sub_(targets)
            gradient = self.design[rows].T @ residual.mul_(shares[..., None]).flatten(1)
            return (shares * losses).sum(dim=0, dtype=torch.float64), gradient

        parts = self.parts(of)
        loss, gradient = next(parts)
        for more_loss, more_gradient in parts:
            loss += more_loss
            gradient += more_gradient
        return loss, gradient.reshape(-1, *logits.shape[1:])

    def curvature(self, logits: Tensor, change: Tensor) -> Tensor:
        """The second derivative (B,) of the loss where logits (N, B, C) start to move by `change`."""

        def of(rows: slice) -> Tensor:
            moved = logits[rows].softmax(dim=2).mul_(change[rows])
            variance = (moved * change[rows]).sum(dim=2) - moved.sum(dim=2).square_()
            return (self._weights(rows) * variance).sum(dim=0)

        return sum(self.parts(of), logits.new_zeros(logits.shape[1]))

    def class_curvature(self, logits: Tensor) -> Tensor:
        """The mean (B, C) of p (1 - p): how the loss curves where the logit of one class moves for all images."""

        def of(rows: slice) -> Tensor:
            probabilities = logits[rows].softmax(dim=2)
            return (probabilities * (1 - probabilities)).mul_(self._weights(rows)[..., None]).sum(dim=0)

        return sum(self.parts(of), logits.new_zeros(logits.shape[1:]))

    def _weights(self, rows: slice) -> Tensor:
        return self.shares[rows] * self.targets[rows].sum(dim=1, keepdim=True)
