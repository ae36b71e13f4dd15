"""Features in principal coordinates, in which one number per column tells how far they extend.

Uncorrelated columns make the penalised fit easy to precondition, and where there are fewer images than features they
are fewer too. Distances stay what they are, up to one scale for all, so a penalty on them means what it says.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tl_train.errors import DataError

FeatureArray = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]

# A direction of less variance than this, against the widest one, is the rounding of float32 products.
_RANK_TOLERANCE = 1e-7
# Features (images times width) up to which float64 costs nothing. It is exact where few images are all told apart
# and the loss is next to nothing.
_SMALL = 1 << 19
_CHUNK = 512  # images at a time, so that the features are never copied as a whole


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Coordinates:
    """Centred features, scaled to a mean square length of 1, in the directions of their principal components.

    Attributes:
        values: (N, R), float64 for few images, else float32; the last column is 1, for the bias.
        variances: (R,), mean squares of the columns.
        features: (N, D), what they were made from.
        mean: (D,), what was taken off, in the precision of `values`.
        scale: what the centred features were divided by.

    """

    values: Tensor
    variances: Tensor
    features: FeatureArray
    mean: FeatureArray
    scale: float

    @staticmethod
    def of(features: FeatureArray, tick: Callable[[], None]) -> "Coordinates":
        """The coordinates of features (N, D), from the smaller of their two Gram matrices.

        Args:
            features: (N, D).
            tick: called many times.

        Raises:
            DataError: a feature is NaN or infinite.

        Source: Jolliffe, Principal Component Analysis, 2nd ed., 3.5 (components from a singular value decomposition).

        """
        count, width = features.shape
        mean: FeatureArray = features.mean(axis=0, dtype=np.float64)
        if not np.isfinite(mean).all():
            raise DataError("features: found NaN or infinity, expected finite numbers; the network is damaged")
        if features.size > _SMALL:
            mean = mean.astype(np.float32)
        squares, directions = _principal(_gram(features, mean, tick))
        scale = float((squares.sum() / count).sqrt()) or 1.0
        values = squares.new_ones(count, len(squares) + 1)
        if count < width:
            torch.mul(directions, squares.sqrt() / scale, out=values[:, :-1])
        else:
            for rows, centred in _centred(features, mean):
                torch.div(centred @ directions, scale, out=values[rows, :-1])
                tick()
        variances = torch.cat([squares / (scale**2 * count), squares.new_ones(1)])
        return Coordinates(values, variances, features, mean, scale)

    def logits(self, weight: FeatureArray, bias: FeatureArray) -> Tensor:
        """Logits (N, C) of a head on the features: weight (C, D), bias (C,)."""
        found = self.values.new_tensor(bias + weight @ self.mean).repeat(len(self.values), 1)
        if weight.any():
            columns = self.values.new_tensor(weight.T)
            for rows, centred in _centred(self.features, self.mean):
                found[rows] += centred @ columns
        return found

    def to_features(self, weights: Tensor) -> tuple[Floats, Floats]:
        """Weights (R, C) for the coordinates as weight (C, D) and bias (C,) for the features."""
        # The directions are not kept: they are the centred features times the coordinates, over the variances.
        dual = self.values[:, :-1] @ (weights[:-1] / (self.variances[:-1, None] * (len(self.values) * self.scale**2)))
        weight = np.zeros((weights.shape[1], len(self.mean)))
        for rows, centred in _centred(self.features, self.mean):
            weight += (dual[rows].T @ centred).numpy()
        return weight, weights[-1].double().numpy() - weight @ self.mean


def _gram(features: FeatureArray, mean: FeatureArray, tick: Callable[[], None]) -> Tensor:
    """Inner products of the centred images (N, N), the lower triangle, or of the features (D, D) if they are fewer."""
    count, width = features.shape
    if count < width:
        gram = torch.empty(count, count, dtype=_precision(mean))
        for rows, left in _centred(features, mean):
            for columns, right in _centred(features[: rows.stop], mean):
                gram[rows, columns] = left @ right.T
            tick()
        return gram
    gram = torch.zeros(width, width, dtype=_precision(mean))
    for _, centred in _centred(features, mean):
        gram.addmm_(centred.T, centred)
        tick()
    return gram


def _principal(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (R,) and eigenvectors (columns) that are more than rounding."""
    try:
        squares, directions = torch.linalg.eigh(gram)  # from the lower triangle
    except RuntimeError:  # did not converge: in float32, where many features are zero in all images
        squares, directions = (part.to(gram.dtype) for part in torch.linalg.eigh(gram.double()))
    first = int((squares <= _RANK_TOLERANCE * squares[-1]).sum())
    return squares[first:], directions[:, first:]


def _centred(features: FeatureArray, mean: FeatureArray) -> Iterator[tuple[slice, Tensor]]:
    """The centred features, some images at a time: which, and (n, D) that the next ones overwrite."""
    # torch aligns its memory, and so always sums in the same order; where numpy's lies differs between calls.
    buffer = torch.empty(min(_CHUNK, len(features)), len(mean), dtype=_precision(mean))
    for start in range(0, len(features), _CHUNK):
        part = features[start : start + _CHUNK]
        centred = buffer[: len(part)]
        np.subtract(part, mean, out=centred.numpy(), casting="same_kind")
        yield slice(start, start + _CHUNK), centred


def _precision(mean: FeatureArray) -> torch.dtype:
    return torch.float64 if mean.dtype == np.float64 else torch.float32
