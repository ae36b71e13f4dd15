"""`Familiarity`: from an image's embedding and logits to the share of held-back images that are less familiar.

Two things tell an unknown image. Its logits are small: the network finds little of any class. Or its embedding lies far
from those of all training images. The first alone misses images of quite another kind, the second alone those of a
class that resembles a known one; the sum sees both.

Source: Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020; Sun et al., "Out-of-Distribution
Detection with Deep Nearest Neighbors", ICML 2022. Adding them, the second only where it is low, is ours.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy
from scipy.special import logsumexp

from tl_train.errors import RunError

Floats = npt.NDArray[np.float64]

# A neighbour counts only where an image is farther off than this many deviations below the median of held-back ones.
KNEE = 1.0

LEAST_LENGTH = 1e-12  # of an embedding, before it is divided by its length

_LEAST_SCALE = 1e-6
_KEPT = (0.16, 0.5, 0.84)  # of a normal distribution: the median, and a standard deviation to either side


class Scale(NamedTuple):
    """The median of held-back images, and half the distance between their 16% and 84% quantiles, above zero."""

    center: float
    width: float

    @staticmethod
    def of(values: npt.NDArray[np.floating]) -> "Scale":
        """That of one or more values."""
        low, middle, high = np.quantile(values, _KEPT)
        return Scale(float(middle), max(float(high - low) / 2, _LEAST_SCALE))

    def __call__(self, values: npt.NDArray[np.floating]) -> Floats:
        """Values in deviations from the median."""
        scaled: Floats = (values.astype(np.float64) - self.center) / self.width
        return scaled


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Familiarity:
    """What the exported graph computes from an image's embedding and logits.

    Attributes:
        bank: float16 (K, D), embeddings of training images, each of length 1.
        neighbours: which nearest of them counts, 1 to K.
        similarity: scale of the cosine similarity to that one.
        energy: scale of the logarithm of the summed exponentials of the logits.
        weight: of the similarity, where it is low.
        quantiles: float32 (Q,), strictly increasing: scores of held-back images at evenly spaced shares, 0 to 1.
        images: how many held-back images these are.

    Raises:
        ValueError: values that do not belong together.

    """

    bank: npt.NDArray[np.float16]
    neighbours: int
    similarity: Scale
    energy: Scale
    weight: float
    quantiles: npt.NDArray[np.float32]
    images: int
    _bank: npt.NDArray[np.float32] = dataclasses.field(init=False, repr=False)  # converting it takes 2 ms an image

    def __post_init__(self) -> None:
        object.__setattr__(self, "_bank", self.bank.astype(np.float32))
        fits = self.bank.ndim == 2 and self.bank.dtype == np.float16 and 1 <= self.neighbours <= len(self.bank)
        increases = self.quantiles.ndim == 1 and len(self.quantiles) > 1 and bool((np.diff(self.quantiles) > 0).all())
        positive = min(self.similarity.width, self.energy.width, self.weight, self.images) > 0
        finite = np.isfinite(self.bank).all() and np.isfinite((*self.similarity, *self.energy, self.weight)).all()
        if not (fits and increases and positive and finite):
            raise ValueError("a bank, scales and quantiles that do not belong together")

    def __call__(self, embeddings: npt.NDArray[np.floating], logits: npt.NDArray[np.floating]) -> Floats:
        """The familiarity (N,), 0..1, of images with these embeddings (N, D) and logits (N, C)."""
        scores = joined(
            self.energy(energies(logits)),
            self.similarity(nearest(cosines(embeddings, self._bank), self.neighbours)),
            self.weight,
        )
        return familiarity_of(scores, self.quantiles)

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        numbers = (self.neighbours, *self.similarity, *self.energy, self.weight, self.images)
        tensors: dict[str, npt.NDArray[Any]] = {
            "bank": self.bank,
            "quantiles": self.quantiles,
            "numbers": np.array(numbers, np.float64),
        }
        data: bytes = safetensors.numpy.save(tensors)
        return data

    @staticmethod
    def from_bytes(data: bytes) -> "Familiarity":
        """As `to_bytes` wrote it.

        Raises:
            RunError: it is damaged.

        """
        try:
            tensors = safetensors.numpy.load(data)
            neighbours, *scales, weight, images = tensors["numbers"].tolist()
            similarity, energy = Scale(*scales[:2]), Scale(*scales[2:])
            bank, quantiles = tensors["bank"], tensors["quantiles"]
            return Familiarity(bank, int(neighbours), similarity, energy, weight, quantiles, int(images))
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"not the familiarity that tl-train writes ({error})") from error


def unit(embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Embeddings (N, D) divided by their length."""
    values = embeddings.astype(np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    result: npt.NDArray[np.float32] = values / np.maximum(lengths, np.float32(LEAST_LENGTH))
    return result


def cosines(embeddings: npt.NDArray[np.floating], bank: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """The cosine similarity of embeddings (N, D) to each of a bank (K, D): (N, K)."""
    result: npt.NDArray[np.float32] = unit(embeddings) @ bank.astype(np.float32, copy=False).T
    return result


def nearest(similarities: npt.NDArray[np.float32], neighbours: int) -> npt.NDArray[np.float32]:
    """Of similarities (N, K) the one to the neighbour of that rank: (N,)."""
    place = similarities.shape[1] - neighbours
    result: npt.NDArray[np.float32] = np.partition(similarities, place, axis=1)[:, place]
    return result


def energies(logits: npt.NDArray[np.floating]) -> Floats:
    """The logarithm of the summed exponentials of logits (N, C): (N,); what the source calls the negative energy."""
    result: Floats = logsumexp(logits.astype(np.float64), axis=1)
    return result


def joined(energy: Floats, similarity: Floats, weight: float) -> Floats:
    """The score of images, from both parts in deviations."""
    score: Floats = energy + weight * np.minimum(similarity + KNEE, 0)
    return score


def familiarity_of(scores: Floats, quantiles: npt.NDArray[np.float32]) -> Floats:
    """The share of held-back images with a lower score, interpolated between the quantiles."""
    shares: Floats = np.interp(scores, quantiles.astype(np.float64), np.linspace(0, 1, len(quantiles)))
    return shares
