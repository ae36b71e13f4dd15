"""What a familiarity rejects: of images like those of the training, and of unknown ones."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from sklearn.metrics import roc_auc_score

from tl_train.familiarity.score import Familiarity, Floats


@dataclasses.dataclass(frozen=True, slots=True)
class Rejection:
    """How one set of unknown images fares.

    Attributes:
        name: of the set.
        images: how many.
        rejected: share of them below the threshold, 0..1.
        auroc: how well the familiarity tells them from the held-out images, 0.5 (not at all) to 1; None without such.

    """

    name: str
    images: int
    rejected: float
    auroc: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class FamiliarityReport:
    """What came of the familiarity of a run.

    Attributes:
        source: which images it was measured on, in words.
        images: how many these are.
        unfamiliar_below: the threshold.
        weight: of the distance to training images in the score.
        part: the held-out images, `test` or `val`; "" where there are none.
        held_out: how many of these.
        rejected: share of these below the threshold: rejected although known; None without such.
        unknown: the sets of unknown images.

    """

    source: str
    images: int
    unfamiliar_below: float
    weight: float
    part: str
    held_out: int
    rejected: float | None
    unknown: tuple[Rejection, ...]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class FittedFamiliarity:
    """What came of it.

    Attributes:
        familiarity: for the exported file; None where there are too few images.
        report: what it rejects; likewise.
        note: why there is none; "" where there is one.

    """

    familiarity: Familiarity | None = None
    report: FamiliarityReport | None = None
    note: str = ""

    def document(self) -> dict[str, object]:
        """What goes into metrics.json."""
        return {"note": self.note} if self.report is None else dataclasses.asdict(self.report)


def rejections(known: Floats, unknown: Mapping[str, Floats], below: float) -> tuple[Rejection, ...]:
    """How each set of unknown images fares.

    Args:
        known: familiarity of held-out images; may be none.
        unknown: name -> familiarity of one or more images.
        below: the threshold.

    """
    return tuple(
        Rejection(name, len(values), rejected_share(values, below), auroc(known, values) if len(known) else None)
        for name, values in unknown.items()
    )


def rejected_share(values: Floats, below: float) -> float:
    """The share of one or more familiarities that is below a threshold."""
    return float((values < below).mean())


def auroc(known: Floats, unknown: Floats) -> float:
    """The probability that a known image is more familiar than an unknown one; equal ones count half."""
    truth = np.repeat([True, False], [len(known), len(unknown)])
    return float(roc_auc_score(truth, np.concatenate([known, unknown])))
