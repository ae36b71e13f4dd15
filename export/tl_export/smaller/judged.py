"""A file's answers to images, judged by what is true of them, and what is lost from one file to another."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from tl_export.proof.precision import OF_INT8
from tl_export.smaller.average_precision import average_precision_lost, mean_average_precision
from tl_export.smaller.measure import Estimate, mean_estimate, paired_difference
from tl_infer.model.contract import ModelSpec
from tl_train.evaluation.answers import Answers
from tl_train.progress import Progress

Floats = npt.NDArray[np.float64]
# Classes, int64 (N,); or of images that may have several labels, targets, float32 (N, C).
Truth = npt.NDArray[Any]

# Rounding of float32: less probability than this is told apart from none only by the logits.
LEAST_PROBABILITY = 1e-7


@dataclasses.dataclass(frozen=True, slots=True)
class Metric:
    """What the answers of a kind of model are measured by.

    Attributes:
        key: its name in files.
        name: its name for people.
        nats_per_share: the rise of the log-loss that is as bad as losing all of it: what goes with a small loss of it,
            scaled up.

    """

    key: str
    name: str
    nats_per_share: float


# On a network that is right on nine of ten images, a change that costs half a point costs about 0.01 nats.
ACCURACY = Metric("accuracy", "accuracy", 2.0)
# Noise in the logits that cost half a point of mAP on pairs of digits, mAP 0.96 and ten labels, cost about 0.008 nats.
MEAN_AVERAGE_PRECISION = Metric("mean_average_precision", "mAP", 1.5)


class Judged(Protocol):
    """A file's answers to one image or more."""

    @property
    def metric(self) -> Metric:
        """What they are measured by."""

    @property
    def score(self) -> float:
        """By that metric, 0..1."""

    @property
    def log_losses(self) -> Floats:
        """Each image's share of the log-loss, nats: float64 (N,); their mean is the log-loss."""

    def __len__(self) -> int:
        """How many images."""

    def joined(self, other: Self) -> Self:
        """These images and others."""

    def lost(self, after: Self, progress: Progress) -> Estimate:
        """What another file's answers to the same images lose of the score, as a share; negative where they win."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class JudgedClasses:
    """Answers to N images that have one label each.

    Attributes:
        right: bool (N,), whether the most probable class is the true one.
        log_losses: float64 (N,), nats.

    """

    right: npt.NDArray[np.bool_]
    log_losses: Floats

    @staticmethod
    def of(logits: npt.NDArray[np.floating], truth: Truth, temperature: float) -> "JudgedClasses":
        """From logits (N, C) before the temperature."""
        return JudgedClasses(logits.argmax(axis=1) == truth, Answers(logits, truth).log_losses(temperature))

    @property
    def metric(self) -> Metric:
        """Accuracy."""
        return ACCURACY

    @property
    def score(self) -> float:
        """The share that is right, 0..1."""
        return float(self.right.mean())

    def __len__(self) -> int:
        return len(self.right)

    def joined(self, other: "JudgedClasses") -> "JudgedClasses":
        """These images and others."""
        return JudgedClasses(
            np.concatenate([self.right, other.right]), np.concatenate([self.log_losses, other.log_losses])
        )

    def lost(self, after: "JudgedClasses", progress: Progress) -> Estimate:
        """The accuracy lost, with the interval of a paired difference of shares."""
        del progress  # it takes no time
        both, only_before = int((self.right & after.right).sum()), int((self.right & ~after.right).sum())
        only_after = int((~self.right & after.right).sum())
        return paired_difference(both, only_before, only_after, len(self) - both - only_before - only_after)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class JudgedLabels:
    """Answers to N images that may have several of C labels.

    Attributes:
        probabilities: float64 (N, C).
        targets: float32 (N, C), 1 present, 0 absent, NaN unknown. Of each image something is known.

    """

    probabilities: Floats
    targets: npt.NDArray[np.floating]

    @staticmethod
    def of(logits: npt.NDArray[np.floating], truth: Truth, temperatures: Sequence[float]) -> "JudgedLabels":
        """From logits (N, C) before the temperatures (C,)."""
        return JudgedLabels(expit(logits.astype(np.float64) / np.array(temperatures)), truth)

    @property
    def metric(self) -> Metric:
        """Mean average precision."""
        return MEAN_AVERAGE_PRECISION

    @property
    def score(self) -> float:
        """The mAP, 0..1; NaN where no image has a label."""
        return mean_average_precision(self.probabilities, self.targets)

    @property
    def log_losses(self) -> Floats:
        """Each image's binary cross-entropy, over its known labels and the mean number of known labels: float64 (N,).

        So their mean is that over all known labels of all images.
        """
        known = np.isfinite(self.targets)
        likelihood = np.where(self.targets == 1, self.probabilities, 1 - self.probabilities)
        losses = np.where(known, -np.log(np.maximum(likelihood, LEAST_PROBABILITY)), 0.0)
        found: Floats = losses.sum(axis=1) / known.sum(axis=1).mean()
        return found

    def __len__(self) -> int:
        return len(self.targets)

    def joined(self, other: "JudgedLabels") -> "JudgedLabels":
        """These images and others."""
        return JudgedLabels(
            np.concatenate([self.probabilities, other.probabilities]), np.concatenate([self.targets, other.targets])
        )

    def lost(self, after: "JudgedLabels", progress: Progress) -> Estimate:
        """The mAP lost, with the interval of a paired bootstrap."""
        return average_precision_lost(self.probabilities, after.probabilities, self.targets, progress)


def own_metrics(metric: Metric, score: float, log_loss: float) -> dict[str, float]:
    """What the metadata of an int8 file say of itself, by name; their other metrics are float32's."""
    return {f"{OF_INT8}{metric.key}": score, f"{OF_INT8}log_loss": log_loss}


@dataclasses.dataclass(frozen=True, slots=True)
class Loss:
    """What is lost from one file to another on the same images; negative where it is won.

    Attributes:
        score: as a share: 0.01 is one point.
        log_loss: nats.
        pictures: how many images that was measured on.
        metric: what the score is.

    """

    score: Estimate
    log_loss: Estimate
    pictures: int
    metric: Metric = ACCURACY


def loss_between(before: Judged, after: Judged, progress: Progress | None = None) -> Loss:
    """What is lost from `before` to `after`, image by image, on one image or more; silent without `progress`."""
    rise = mean_estimate(after.log_losses - before.log_losses)
    return Loss(before.lost(after, progress or Progress()), rise, len(before), before.metric)


def judge(logits: npt.NDArray[np.floating], truth: Truth, spec: ModelSpec) -> Judged:
    """A network's answers, from logits (N, C), as its spec calibrates them."""
    if spec.temperatures is None:
        return JudgedClasses.of(logits, truth, spec.temperature)
    return JudgedLabels.of(logits, truth, spec.temperatures)
