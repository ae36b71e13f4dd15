"""A further row of a linear head from a few embeddings: linear discriminant analysis beside the classes that are there.

Linear discriminant analysis needs a mean per class, which a few images give, and a covariance that all classes share,
which the training images of the other classes give.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.covariance import ledoit_wolf

from tl_export.errors import ExportError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One row of a linear head: logit = embedding @ weight + bias; weight (D,)."""

    weight: Floats
    bias: float

    def __call__(self, embeddings: Floats) -> Floats:
        """Logits (N,) of embeddings (N, D)."""
        logits: Floats = embeddings @ self.weight + self.bias
        return logits


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class FittedRow:
    """The row of a new class.

    Attributes:
        row: for the head.
        recognised: how many of the images it was made from have it as their top-1 class when the mean is that of the
            others. All of them had a part in the choice of one number, the bias.

    """

    row: Row
    recognised: int


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class KnownClasses:
    """A fitted head and the images that it was trained on.

    Attributes:
        embeddings: (N, D), of the training images.
        labels: (N,), 0 to C - 1; each class has an image or more.
        weight: of the head, (C, D).
        bias: of the head, (C,).

    """

    embeddings: Floats
    labels: Ints
    weight: Floats
    bias: Floats

    def logits(self, embeddings: Floats) -> Floats:
        """The head's logits (n, C) of embeddings (n, D)."""
        found: Floats = embeddings @ self.weight.T + self.bias
        return found


def fit_row(known: KnownClasses, new: Floats) -> FittedRow:
    """The head's row of a further class, from its embeddings (n, D), two or more.

    Its direction is that of linear discriminant analysis. Its bias makes the log-loss least when every class counts as
    much as any other, the images of the new class judged by the mean of the others among them: the mean of a few images
    is nearer to these than to any other image of the class.

    Raises:
        ExportError: training images of one class do not differ.

    """
    discriminants = _Discriminants.of(known)
    row = discriminants.row(new.mean(axis=0))
    left_out = [discriminants.row(np.delete(new, place, axis=0).mean(axis=0)) for place in range(len(new))]
    own = np.array([other(embedding) for other, embedding in zip(left_out, new, strict=True)])
    rivals = known.logits(new)
    offset = _best_offset(known, row, own, rivals)
    recognised = int((own + offset > rivals.max(axis=1)).sum())
    return FittedRow(Row(row.weight, row.bias + offset), recognised)


def _best_offset(known: KnownClasses, row: Row, own: Floats, rivals: Floats) -> float:
    """What to add to the logits of the new class, which are `own` (n,) on its images, beside `rivals` (n, C)."""
    old_rivals, old_own = logsumexp(known.logits(known.embeddings), axis=1), row(known.embeddings)
    shares = 1 / np.bincount(known.labels)[known.labels]
    against = logsumexp(rivals, axis=1)

    def loss(offset: float) -> float:
        of_old = shares @ np.logaddexp(old_rivals, old_own + offset)
        return float(of_old + (np.logaddexp(against, own + offset) - own - offset).mean())

    # Convex: the least is between where every image of the new class is lost and where every old one is.
    low, high = float((against - own).min()) - 10, float((against - own).max()) + 10
    high = max(high, float((old_rivals - old_own).max()) + 10)
    return float(minimize_scalar(loss, bounds=(low, high), method="bounded").x)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Discriminants:
    """Linear discriminant analysis of the known classes, and how the head says the same.

    The discriminant of a class with mean m is `x @ P @ m - m @ P @ m / 2`, with the inverse P of the shared covariance;
    differences between two of them are log-odds. The head's logits are log-odds too, on a scale of its own.

    Attributes:
        precision: P, (D, D).
        mean_row: mean of the discriminants of the known classes.
        mean_logit: mean of the head's rows.
        scale: of the head's logits against the discriminants.

    Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 2nd ed., 4.3; for the covariance, Ledoit
    and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of Multivariate Analysis
    88 (2004).

    """

    precision: Floats
    mean_row: Row
    mean_logit: Row
    scale: float

    @staticmethod
    def of(known: KnownClasses) -> "_Discriminants":
        embeddings, labels, classes = known.embeddings, known.labels, len(known.bias)
        means = np.array([embeddings[labels == c].mean(axis=0) for c in range(classes)])
        centred = embeddings - means[labels]
        if not centred.any():
            raise ExportError(
                "add_class: the training images of each class are all alike to the network, so nothing is known of how "
                "images of a class differ; expected several different ones"
            )
        shrunk, _ = ledoit_wolf(centred, assume_centered=True)
        precision = np.linalg.inv(shrunk)
        rows = means @ precision
        biases = -0.5 * (rows * means).sum(axis=1)
        found, said = _centred(embeddings @ rows.T + biases), _centred(known.logits(embeddings))
        scale = float((found * said).sum() / (found * found).sum())
        mean_row = Row(rows.mean(axis=0), float(biases.mean()))
        return _Discriminants(precision, mean_row, Row(known.weight.mean(axis=0), float(known.bias.mean())), scale)

    def row(self, mean: Floats) -> Row:
        """Of a class with that mean (D,); to the mean of the head's rows as its discriminant is to that of theirs."""
        weight = mean @ self.precision
        bias = -0.5 * float(weight @ mean)
        return Row(
            self.mean_logit.weight + self.scale * (weight - self.mean_row.weight),
            self.mean_logit.bias + self.scale * (bias - self.mean_row.bias),
        )


def _centred(logits: Floats) -> Floats:
    centred: Floats = logits - logits.mean(axis=1, keepdims=True)
    return centred
