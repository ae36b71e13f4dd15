"""A further row of a linear head from a few embeddings: linear discriminant analysis beside the classes that are there.

Linear discriminant analysis needs a mean per class, which a few images give, and a covariance that all classes share,
which the training images of the other classes give.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
from sklearn.covariance import ledoit_wolf

from tl_export.errors import ExportError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One row of a linear head: logit = embedding @ weight + bias; weight (D,)."""

    weight: Floats
    bias: float


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Discriminants:
    """What the training images of the known classes say about embeddings, and how the head says it.

    A discriminant of class c is `x @ P @ m_c - m_c @ P @ m_c / 2`, with the mean m_c and the inverse P of the shared
    covariance; differences between two of them are log-odds. The head's logits are log-odds too, on a scale of its own.

    Attributes:
        precision: P, (D, D).
        noise: trace of P times the covariance of the images; the mean of n images adds 1/n of it to a squared distance.
        mean_row: mean of the discriminants of the known classes.
        mean_logit: mean of the head's rows.
        scale: of the head's logits against the discriminants.

    Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 2nd ed., 4.3; for the covariance, Ledoit
    and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of Multivariate Analysis
    88 (2004).

    """

    precision: Floats
    noise: float
    mean_row: Row
    mean_logit: Row
    scale: float

    @staticmethod
    def of(embeddings: Floats, labels: Ints, weight: Floats, bias: Floats) -> "Discriminants":
        """Those of known classes.

        Args:
            embeddings: (N, D), of training images.
            labels: (N,), 0 to C - 1, each class with one image or more, and one with several.
            weight: of the head, (C, D).
            bias: of the head, (C,).

        Raises:
            ExportError: images of one class do not differ.

        """
        classes = len(bias)
        counts = np.bincount(labels, minlength=classes)
        means = np.array([embeddings[labels == c].mean(axis=0) for c in range(classes)])
        centred = embeddings - means[labels]
        unbiased = len(labels) / max(1, len(labels) - classes)
        if not centred.any():
            raise ExportError(
                "add_class: the training images of each class are all alike to the network, so nothing is known of how "
                "images of a class differ; expected several different ones"
            )
        shrunk, _ = ledoit_wolf(centred, assume_centered=True)
        precision = np.linalg.inv(shrunk * unbiased)
        noise = float((precision * (centred.T @ centred)).sum()) * unbiased / len(labels)
        rows = means @ precision
        biases = -0.5 * (rows * means).sum(axis=1) + 0.5 * noise / counts
        found = _centred(embeddings @ rows.T + biases)
        said = _centred(embeddings @ weight.T + bias)
        scale = float((found * said).sum() / (found * found).sum())
        mean_row = Row(rows.mean(axis=0), float(biases.mean()))
        return Discriminants(precision, noise, mean_row, Row(weight.mean(axis=0), float(bias.mean())), scale)

    def row(self, embeddings: Floats) -> Row:
        """The head's row of a further class, from its embeddings (n, D).

        Against the mean of the known classes' logits it is as far as its discriminant is against the mean of theirs.
        The mean of few images lies off the mean of the class, which makes every new image of it seem farther: the bias
        makes up for that.
        """
        mean = embeddings.mean(axis=0)
        weight = mean @ self.precision
        bias = -0.5 * float(weight @ mean) + 0.5 * self.noise / len(embeddings)
        return Row(
            self.mean_logit.weight + self.scale * (weight - self.mean_row.weight),
            self.mean_logit.bias + self.scale * (bias - self.mean_row.bias),
        )


def _centred(logits: Floats) -> Floats:
    centred: Floats = logits - logits.mean(axis=1, keepdims=True)
    return centred
