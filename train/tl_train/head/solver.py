"""Softmax regressions with L2 regularisation, those of all folds at once: one matrix product per step serves them all.

The columns of the product are folds times classes; an image that a fold holds out has no share in its loss. Each fold
takes its own conjugate-gradient steps, of the length that Newton's method finds along the line. Uncorrelated columns of
the design matrix make a good preconditioner cheap: one number per column and class.
"""

import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part")

# A fit is done when its objective, less the loss that no fit gets below, could fall by no more than this fraction, as
# the preconditioner sees it.
_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
# What is below this is as good as nothing, nats.
_LEAST_OBJECTIVE = 1e-4
# Steps with one preconditioner, and how often it is made anew. Nearly always one round is enough; a few images that are
# all told apart, under next to no penalty, need more, which float64 has the digits for.
_STEPS_OF_ROUND = 30
_MAX_ROUNDS = {torch.float32: 4, torch.float64: 40}
_MAX_TRIALS = 10
# A step is long enough when the slope along it has fallen to this fraction.
_SLOPE_LEFT = 0.3
# More than by this fraction the objective must not grow in a step; rounding makes it seem to.
_GROWTH = 1e-3
# Images that one thread takes at a time: as many logits as fit its cache, and few enough that all threads have work.
_CHUNK_LOGITS, _LEAST_CHUNK, _LARGEST_CHUNK = 1 << 16, 512, 2048
# Parts begun before the first of them is taken, on any number of threads: what bounds their memory.
_CHUNKS_AHEAD = 32
_TINY = torch.finfo(torch.float32).tiny


@contextlib.contextmanager
def worker_threads() -> Iterator[Executor]:
    """As many threads as torch uses, while torch itself uses one in each.

    Torch's own threads meet after every operation and wait for each other spinning: on a machine that does other work
    too, a fit took twenty times as long. Here they meet three times in a step.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count, "fit") as pool:
            yield pool
    finally:
        torch.set_num_threads(count)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Regressions:
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

    def zeros(self) -> Tensor:
        """Weights (R, B, C) that leave the logits at the offsets."""
        return self.design.new_zeros(self.design.shape[1], self.shares.shape[1], self.targets.shape[1])

    def least_loss(self) -> Tensor:
        """The loss (B,) where the probabilities are the targets; above 0 for smoothed ones."""

        def of(rows: slice) -> Tensor:
            targets = self.targets[rows]
            return -torch.xlogy(targets, targets / targets.sum(dim=1, keepdim=True)).sum(dim=1) @ self.shares[rows]

        return sum(self._parts(of), self.shares.new_zeros(self.shares.shape[1]))

    def products(self, weights: Tensor) -> Tensor:
        """The design matrix times weights (R, B, C): (N, B, C)."""
        columns = weights.flatten(1)
        found = self.design.new_empty(len(self.design), columns.shape[1])
        start = 0
        for part in self._parts(lambda rows: self.design[rows] @ columns):
            found[start : start + len(part)] = part
            start += len(part)
        return found.reshape(-1, *weights.shape[1:])

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

        parts = self._parts(of)
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

        return sum(self._parts(of), logits.new_zeros(logits.shape[1]))

    def class_curvature(self, logits: Tensor) -> Tensor:
        """The mean (B, C) of p (1 - p): how the loss curves where the logit of one class moves for all images."""

        def of(rows: slice) -> Tensor:
            probabilities = logits[rows].softmax(dim=2)
            return (probabilities * (1 - probabilities)).mul_(self._weights(rows)[..., None]).sum(dim=0)

        return sum(self._parts(of), logits.new_zeros(logits.shape[1:]))

    def _weights(self, rows: slice) -> Tensor:
        return self.shares[rows] * self.targets[rows].sum(dim=1, keepdim=True)

    def _parts(self, work: Callable[[slice], Part]) -> Iterator[Part]:
        """What `work` makes of each part of the images, in order."""
        size = min(max(_CHUNK_LOGITS // (self.shares.shape[1] * self.targets.shape[1]), _LEAST_CHUNK), _LARGEST_CHUNK)
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


def minimise(problem: Regressions, strength: float, start: Tensor, tick: Callable[[], None]) -> tuple[Tensor, Tensor]:
    """The weights (R, B, C) of least loss plus strength / 2 times their square, and their logits (N, B, C).

    Args:
        problem: the regressions.
        strength: of the penalty, above 0.
        start: weights (R, B, C) to start from; overwritten.
        tick: called before the first step and after each.

    Source: Nocedal and Wright, Numerical Optimization, 2nd ed., 5.2 (method PR+) and 5.1 (preconditioning).

    """
    state = _State.at(problem, strength, start)
    for _ in range(_MAX_ROUNDS[start.dtype]):
        if _descend(state, tick):
            break
    return state.weights, state.logits


def _descend(state: "_State", tick: Callable[[], None]) -> bool:
    """Some steps with one preconditioner, that of where they start; whether the least objective is reached."""
    spread = state.problem.class_curvature(state.logits)
    precondition = (state.problem.variances[:, None, None] * spread).add_(state.strength).reciprocal_()
    tick()
    direction, before = torch.zeros_like(state.weights), state.gradient
    decrement_before = torch.ones_like(state.objective)
    tolerance = _TOLERANCE[before.dtype]
    floor = state.problem.least_loss() - _LEAST_OBJECTIVE
    for _ in range(_STEPS_OF_ROUND):
        scaled = precondition * state.gradient
        decrement = _dot(scaled, state.gradient)
        if (decrement / 2 <= tolerance * (state.objective - floor)).all():
            return True
        conjugate = ((decrement - _dot(scaled, before)) / decrement_before.clamp(min=_TINY)).clamp_(min=0)
        direction.mul_(conjugate[:, None]).sub_(scaled)
        uphill = _dot(direction, state.gradient) >= 0
        direction[:, uphill] = -scaled[:, uphill]
        before, decrement_before = state.gradient, decrement
        state.move(direction, tick)
    return False


@dataclasses.dataclass(slots=True, eq=False)
class _State:
    """Where the regressions have come to.

    Attributes:
        problem: the regressions.
        strength: of the penalty.
        weights: (R, B, C).
        logits: (N, B, C), that belong to them.
        objective: float64 (B,), loss and penalty.
        gradient: (R, B, C), of the objective.

    """

    problem: Regressions
    strength: float
    weights: Tensor
    logits: Tensor
    objective: Tensor
    gradient: Tensor

    @staticmethod
    def at(problem: Regressions, strength: float, weights: Tensor) -> "_State":
        logits = problem.products(weights).add_(problem.offsets[:, None])
        state = _State(problem, strength, weights, logits, torch.empty(0), torch.empty(0))
        state._evaluate()
        return state

    def move(self, direction: Tensor, tick: Callable[[], None]) -> None:
        """Go along a direction (R, B, C) of descent until little of the slope is left.

        Newton's step along the line is nearly always right at once. Where it is not, the least point stays between two
        bounds, and a step that leaves them is replaced by their middle.
        """
        change = self.problem.products(direction)
        penalty_curvature = self.strength * _dot(direction, direction)
        slope = _dot(self.gradient, direction)
        little = _SLOPE_LEFT * slope.abs()
        highest = self.objective + _GROWTH * (self.objective + _LEAST_OBJECTIVE)
        at = lower = torch.zeros_like(slope)
        upper = torch.full_like(slope, torch.inf)
        arrived = torch.zeros_like(slope, dtype=torch.bool)
        for _ in range(_MAX_TRIALS):
            proposed = at - slope / (self.problem.curvature(self.logits, change) + penalty_curvature)
            middle = torch.where(upper.isinf(), 2 * at, (lower + upper) / 2)
            proposed = torch.where((proposed > lower) & (proposed < upper), proposed, middle)
            by = torch.where(arrived, 0, proposed - at)
            at = at + by
            self.weights.addcmul_(direction, by[:, None])
            self.logits.addcmul_(change, by[:, None])
            self._evaluate()
            tick()
            slope = _dot(self.gradient, direction)
            arrived = (slope.abs() <= little) & (self.objective <= highest)
            if arrived.all():
                return
            lower, upper = torch.where(slope < 0, at, lower), torch.where(slope > 0, at, upper)

    def _evaluate(self) -> None:
        loss, gradient = self.problem.gradient(self.logits)
        self.objective = loss + self.strength / 2 * _dot(self.weights, self.weights)
        self.gradient = gradient.add_(self.weights, alpha=self.strength)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Inner products (B,) of tensors (R, B, C)."""
    return torch.einsum("rbc,rbc->b", left, right)
