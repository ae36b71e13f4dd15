"""A linear head fitted on frozen features with a penalty towards a given head; its strength by cross-validation.

Without pictures of every kind of dog, many heads separate the training pictures equally well. The penalty says which
one to take: the nearest to the given head, as near as the training pictures do not contradict it.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.special

from tl_train.errors import DataError

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

MAX_FOLDS = 10
# Strongest first. Features are scaled to a mean square length of 1, so the numbers mean the same for every network.
STRENGTHS = tuple(10.0 ** (exponent / 2) for exponent in range(4, -15, -1))

_ITERATIONS = 2000
# A direction in which the features extend less than this, against the widest one, is rounding.
_RANK_TOLERANCE = 1e-9


@dataclasses.dataclass(frozen=True, slots=True)
class StrengthTried:
    """A row of the cross-validation table: a strength, the mean log-loss (nats) of held-out folds, its error."""

    strength: float
    log_loss: float
    standard_error: float


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class PenalisedHead:
    """A fitted head.

    Attributes:
        weight: float32 (C, D).
        bias: float32 (C,).
        strength: of the penalty that was chosen.
        table: what cross-validation measured, strongest penalty first.

    """

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    strength: float
    table: tuple[StrengthTried, ...]


def fit_penalised_head(
    features: npt.NDArray[np.floating],
    labels: Labels,
    weight: npt.NDArray[np.floating] | None,
    bias: npt.NDArray[np.floating] | None,
    seed: int,
    *,
    classes: int | None = None,
) -> PenalisedHead:
    """Fit a softmax head: mean log-loss plus strength / 2 times the squared distance from the given head.

    The strength is the strongest whose cross-validated log-loss is within one standard error of the best. The error
    counts as no smaller than what one undecided picture adds to the mean: on a few pictures that are all told apart
    with ease the folds agree by accident, and a loss of 0.001 is no better founded than one of 0.005.

    Args:
        features: (N, D), training pictures only.
        labels: (N,), 0..C-1.
        weight: of the head to be drawn to, (C, D); None for zero.
        bias: of that head, (C,); None for zero.
        seed: of the folds.
        classes: C; None for the number of rows of `weight`, or the largest label + 1.

    Raises:
        DataError: a class has fewer than two pictures, so that nothing can be held out.

    Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 2nd ed., 7.10 (one-standard-error rule).

    """
    if classes is None:
        classes = len(weight) if weight is not None else int(labels.max()) + 1
    counts = np.bincount(labels, minlength=classes)
    if counts.min() < 2:
        raise DataError(
            f"class {int(counts.argmin())}: {int(counts.min())} training picture(s), expected at least 2 to choose the "
            "head's penalty; add pictures or use --head-fit sgd"
        )
    data = features.astype(np.float64)
    target = np.zeros((classes, data.shape[1])) if weight is None else weight.astype(np.float64)
    offset = np.zeros(classes) if bias is None else bias.astype(np.float64)
    problem = _Problem.build(data, labels, target, offset)
    table = tuple(_cross_validate(problem, folds(labels, min(MAX_FOLDS, int(counts.min())), seed)))
    strength = choose_strength(table, np.log(2) / len(labels))
    *_, (_, deviation) = problem.path([tried for tried in STRENGTHS if tried >= strength])
    moved_weight, moved_bias = problem.to_features(deviation)
    return PenalisedHead(
        (target + moved_weight).astype(np.float32), (offset + moved_bias).astype(np.float32), strength, table
    )


def choose_strength(table: tuple[StrengthTried, ...], resolution: float) -> float:
    """The strongest penalty within one standard error of the best, an error that counts as at least `resolution`."""
    best = min(table, key=lambda tried: tried.log_loss)
    allowed = best.log_loss + max(best.standard_error, resolution)
    return max(tried.strength for tried in table if tried.log_loss <= allowed)


def folds(labels: Labels, count: int, seed: int) -> npt.NDArray[np.int64]:
    """A fold 0..count-1 for each picture, int (N,); every class is spread evenly."""
    generator = np.random.default_rng(seed)
    assigned = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        assigned[members] = np.arange(len(members)) % count
    return assigned


def _cross_validate(problem: "_Problem", fold_of: npt.NDArray[np.int64]) -> Iterator[StrengthTried]:
    """The table, strongest penalty first; ends where weaker penalties have become clearly worse."""
    count = int(fold_of.max()) + 1
    paths = [problem.part(fold_of != fold).path(STRENGTHS) for fold in range(count)]
    held_out = [problem.part(fold_of == fold) for fold in range(count)]
    best: StrengthTried | None = None
    for strength in STRENGTHS:
        losses = [part.log_loss(next(path)[1]) for path, part in zip(paths, held_out, strict=True)]
        tried = StrengthTried(strength, float(np.mean(losses)), float(np.std(losses, ddof=1) / np.sqrt(count)))
        yield tried
        if best is None or tried.log_loss < best.log_loss:
            best = tried
        elif tried.log_loss > best.log_loss + 2 * best.standard_error:
            return


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """The fit in few coordinates: the best deviation lies in the span of the features, so N of them are enough.

    Attributes:
        coordinates: (N, r), scaled and centred features in an orthonormal basis of their span.
        given: (N, C), logits of the head to be drawn to.
        labels: (N,).
        basis: (r, D), orthonormal rows.
        mean: (D,), what was taken off.
        scale: what the features were divided by.

    """

    coordinates: Floats
    given: Floats
    labels: Labels
    basis: Floats
    mean: Floats
    scale: float

    @staticmethod
    def build(features: Floats, labels: Labels, weight: Floats, bias: Floats) -> "_Problem":
        """The problem on all pictures; with more of them than features, these are coordinates enough."""
        mean = features.mean(axis=0)
        centred = features - mean
        scale = float(np.sqrt((centred**2).sum(axis=1).mean())) or 1.0
        basis = np.eye(features.shape[1])
        if len(features) < features.shape[1]:
            _, extents, directions = np.linalg.svd(centred / scale, full_matrices=False)
            basis = directions[extents > _RANK_TOLERANCE * extents[0]]
        return _Problem(centred / scale @ basis.T, features @ weight.T + bias, labels, basis, mean, scale)

    def part(self, chosen: npt.NDArray[np.bool_]) -> "_Problem":
        """The same problem on some of the pictures."""
        return dataclasses.replace(
            self, coordinates=self.coordinates[chosen], given=self.given[chosen], labels=self.labels[chosen]
        )

    def path(self, strengths: tuple[float, ...] | list[float]) -> Iterator[tuple[float, Floats]]:
        """The best deviation (r + 1, C) for each strength, in the order given; each fit starts from the one before."""
        deviation = np.zeros((self.coordinates.shape[1] + 1, self.given.shape[1]))
        for strength in strengths:
            found = scipy.optimize.minimize(
                self._objective, deviation.ravel(), args=(strength,), jac=True, method="L-BFGS-B",
                options={"maxiter": _ITERATIONS, "maxcor": 20, "ftol": 1e-10, "gtol": 1e-7},
            )  # fmt: skip
            deviation = found.x.reshape(deviation.shape)
            yield strength, deviation

    def log_loss(self, deviation: Floats) -> float:
        """Mean log-loss (nats) of the head that deviates so much from the given one."""
        return float(-self._log_probabilities(deviation)[np.arange(len(self.labels)), self.labels].mean())

    def to_features(self, deviation: Floats) -> tuple[Floats, Floats]:
        """The deviation as weights (C, D) and biases (C,) for features as they come from the network."""
        weight = deviation[:-1].T @ self.basis / self.scale
        return weight, deviation[-1] - weight @ self.mean

    def _log_probabilities(self, deviation: Floats) -> Floats:
        logits = self.given + self.coordinates @ deviation[:-1] + deviation[-1]
        result: Floats = scipy.special.log_softmax(logits, axis=1)
        return result

    def _objective(self, flat: Floats, strength: float) -> tuple[float, Floats]:
        deviation = flat.reshape(-1, self.given.shape[1])
        log_probabilities = self._log_probabilities(deviation)
        count = len(self.labels)
        chosen = (np.arange(count), self.labels)
        residual = np.exp(log_probabilities)
        residual[chosen] -= 1
        slope = np.vstack([self.coordinates.T @ residual, residual.sum(axis=0)]) / count + strength * deviation
        value = -log_probabilities[chosen].mean() + strength / 2 * (deviation**2).sum()
        return float(value), slope.ravel()
