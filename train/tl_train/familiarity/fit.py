"""Fitting `Familiarity` on training images alone: the bank, the scales, the weight and the table of quantiles."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from tl_train.familiarity.score import Familiarity, Floats, Scale, cosines, energies, joined, nearest, unit

Ints = npt.NDArray[np.int64]

# Among fewer, the rarest 5% are a handful, and the share of known images that is rejected could be anything.
MIN_IMAGES = 100
# What is asked of the file: so many known images are rejected.
REJECTED = 0.05

# Of 1000 clothing photos 200 say as much as all of them: AUROC 0.999 against photos, 0.86 against left-out classes.
_BANK_IMAGES = 400
_BANK_PER_CLASS = 5
BANK_BYTES = 1_990_000  # of the two megabytes that all of it may take in the file
_NEIGHBOURS = 5

# Candidates, gentlest first.
WEIGHTS = (1.0, 2.0, 4.0, 8.0)
_MOST_LEFT_OUT = 20  # classes
_MOST_HELD_BACK = 5000

_QUANTILES = 101
# Scores that lie closer than this, in deviations, count as that far apart: rounding then moves the familiarity little.
_LEAST_STEP = 2e-3


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class HeldBack:
    """What the network says of images that it did not learn from, or that a head fitted without them says.

    Attributes:
        embeddings: (N, D).
        logits: (N, C).
        labels: int (N,), the true classes.
        in_bank: int (N,), the row of the bank that is this very image; -1 for none.
        source: which images these are, in words.

    """

    embeddings: npt.NDArray[np.floating]
    logits: npt.NDArray[np.floating]
    labels: Ints
    in_bank: Ints
    source: str

    def some(self, seed: int) -> "HeldBack":
        """These, or so many of them that work and memory stay bounded."""
        if len(self.labels) <= _MOST_HELD_BACK:
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self.labels))[:_MOST_HELD_BACK])
        return HeldBack(
            self.embeddings[chosen], self.logits[chosen], self.labels[chosen], self.in_bank[chosen], self.source
        )


def bank_rows(labels: Ints, width: int, seed: int) -> Ints:
    """The training images to keep, in order: evenly from the classes, as many as are needed and there is room for.

    Args:
        labels: int (N,), of the training images.
        width: of an embedding.
        seed: of the draw.

    """
    classes = int(labels.max()) + 1
    count = min(max(_BANK_IMAGES, _BANK_PER_CLASS * classes), BANK_BYTES // (2 * width), len(labels))
    drawn = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    for label in range(classes):
        of_class = drawn[labels[drawn] == label]
        turn[of_class] = np.arange(len(of_class))
    return np.sort(drawn[np.argsort(turn[drawn], kind="stable")][: max(1, count)])


def fit_familiarity(
    bank: npt.NDArray[np.floating], bank_labels: Ints, held_back: HeldBack, seed: int = 0
) -> Familiarity:
    """Fit everything on images of known classes; no outlier is looked at.

    Args:
        bank: (K, D), embeddings of training images, as `bank_rows` chooses them.
        bank_labels: int (K,), their classes.
        held_back: `MIN_IMAGES` or more.
        seed: where there are more held-back images than are looked at.

    """
    held_back = held_back.some(seed)
    stored = unit(bank).astype(np.float16)
    similarities = cosines(held_back.embeddings, stored)
    own = np.flatnonzero(held_back.in_bank >= 0)
    similarities[own, held_back.in_bank[own]] = -1.0  # the lowest there is: no image is its own neighbour
    neighbours = max(1, min(_NEIGHBOURS, len(stored) - 1))
    weight = choose_weight(similarities, bank_labels, held_back, neighbours)
    close, energy = nearest(similarities, neighbours), energies(held_back.logits)
    similarity_scale, energy_scale = Scale.of(close), Scale.of(energy)
    scores = joined(energy_scale(energy), similarity_scale(close), weight)
    return Familiarity(
        bank=stored,
        neighbours=neighbours,
        similarity=similarity_scale,
        energy=energy_scale,
        weight=weight,
        quantiles=_table(scores),
        images=len(scores),
    )


def choose_weight(
    similarities: npt.NDArray[np.float32], bank_labels: Ints, held_back: HeldBack, neighbours: int
) -> float:
    """The greatest weight that tells images of a class that was left out about as well as the best does.

    Each class in turn is taken for unknown: its column of the logits and its images in the bank are left out. Such
    unknowns resemble the known classes, and the energy tells them best. Those that resemble none, which the
    similarity tells best, cannot be had from the training images; so it gets as much weight as costs nothing here:
    the AUROC, a mean over classes, stays within one standard error of the best.

    Args:
        similarities: (N, K), of the held-back images to those of the bank.
        bank_labels: int (K,).
        held_back: the images.
        neighbours: which nearest counts.

    Returns:
        One of `WEIGHTS`; the smallest where there are fewer than three classes: leaving one out leaves no choice.

    """
    classes = held_back.logits.shape[1]
    if classes < 3:
        return WEIGHTS[0]
    aurocs: list[list[float]] = []
    for label in np.unique(np.linspace(0, classes - 1, min(classes, _MOST_LEFT_OUT)).round().astype(np.int64)):
        known, others = held_back.labels != label, bank_labels != label
        if known.all() or others.sum() < neighbours:
            continue
        energy = energies(np.delete(held_back.logits, label, axis=1))
        close = nearest(similarities[:, others], neighbours)
        parts = Scale.of(energy[known])(energy), Scale.of(close[known])(close)
        aurocs.append([float(roc_auc_score(known, joined(*parts, weight))) for weight in WEIGHTS])
    return _steepest(aurocs)


def _steepest(aurocs: Sequence[Sequence[float]]) -> float:
    """The greatest weight whose mean is within one standard error of the best; a row per class, a column per weight."""
    if len(aurocs) < 2:
        return WEIGHTS[0]
    means = np.mean(aurocs, axis=0)
    errors = np.std(aurocs, axis=0, ddof=1) / math.sqrt(len(aurocs))
    best = int(means.argmax())
    return max(weight for weight, mean in zip(WEIGHTS, means, strict=True) if mean >= means[best] - errors[best])


def _table(scores: Floats) -> npt.NDArray[np.float32]:
    """Quantiles of the scores, pulled apart where they coincide."""
    quantiles = np.quantile(scores, np.linspace(0, 1, _QUANTILES))
    steps = np.maximum(np.diff(quantiles), _LEAST_STEP)
    return np.concatenate([quantiles[:1], quantiles[0] + np.cumsum(steps)]).astype(np.float32)
