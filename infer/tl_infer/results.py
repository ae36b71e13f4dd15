"""The answers of a classifier."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from tl_infer.errors import ImageError

Vector = npt.NDArray[np.float32]

# Why a model abstains: it cannot tell its classes apart here, or the image is unlike those of its training.
Reason = Literal["unsure", "unfamiliar"]


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """One class and its probability, 0..1."""

    label: str
    probability: float


@dataclasses.dataclass(frozen=True, slots=True)
class Classification:
    """The answer for one image.

    Two are equal if they name the same classes with the same probabilities, give the same labels, are equally familiar,
    and both abstain for the same reason or neither does.

    Attributes:
        top: the most probable classes, best first; as many as were asked for.
        abstained: the model gives no label; `reason` says why.
        ms: milliseconds from the source to the answer, in the thread that did the work.
        embedding: float32 (D,), the pooled features, if asked for; else None.
        heatmap: float32 (h, w), where the first class of `top` was seen, if asked for; else None.
        reason: `unfamiliar` if the image is too unlike the training images, whatever the probabilities are, `unsure` if
            the best probability is below the threshold; None if the model did not abstain.
        familiarity: the share of held-back training images that are less familiar, 0..1; None of a model without it.
        several: the labels that the image has, of a model that gives several; None of one that gives one. `labels` is
            the same for both.
        heatmaps: float32 (h, w) for each of `labels`, of a model that gives several, if asked for; else None.

    """

    top: tuple[Score, ...]
    abstained: bool = False
    ms: float = dataclasses.field(default=0.0, compare=False)
    embedding: Vector | None = dataclasses.field(default=None, compare=False, repr=False)
    heatmap: Vector | None = dataclasses.field(default=None, compare=False, repr=False)
    reason: Reason | None = None
    familiarity: float | None = None
    several: tuple[str, ...] | None = None
    heatmaps: Mapping[str, Vector] | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the image has, most probable first: of most models one, or none if the model abstained."""
        if self.several is not None:
            return self.several
        return () if self.abstained else (self.top[0].label,)

    @property
    def label(self) -> str | None:
        """The most probable of its labels; None if it has none, or the model abstained."""
        return self.labels[0] if self.labels else None

    @property
    def probability(self) -> float:
        """The probability of the most probable class, 0..1, even if the model abstained."""
        return self.top[0].probability


# What becomes of an image that may not be readable.
Result = Classification | ImageError


def row_of(result: Result) -> dict[str, object]:
    """A result as plain values, with the names that `tl-infer` gives them in JSONL; of a failed image only `error`."""
    if isinstance(result, ImageError):
        nothing = dict.fromkeys(("label", "probability", "reason", "familiarity"))
        return nothing | {"labels": [], "top": [], "abstained": False, "error": result.reason}
    return {
        "label": result.label,
        "labels": list(result.labels),
        "probability": result.probability,
        "top": [{"label": score.label, "probability": score.probability} for score in result.top],
        "abstained": result.abstained,
        "reason": result.reason,
        "familiarity": result.familiarity,
        "error": None,
    }


@dataclasses.dataclass(frozen=True, slots=True)
class SelfTest:
    """The result of the golden samples of a model file on this machine.

    Attributes:
        samples: how many were run.
        max_difference: the largest absolute difference of any probability.
        tolerance: the largest difference that the file allows.
        max_familiarity_difference: likewise of the familiarity; None of a model without it.
        familiarity_tolerance: likewise.

    """

    samples: int
    max_difference: float
    tolerance: float
    max_familiarity_difference: float | None = None
    familiarity_tolerance: float | None = None
