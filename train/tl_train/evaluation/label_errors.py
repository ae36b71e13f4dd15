"""Labels that may be wrong, by confident learning: what heads say of images that they were not fitted on.

Source: Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of Artificial
Intelligence Research 70 (2021).
"""

import dataclasses
from collections.abc import Collection

import numpy as np

from tl_train.evaluation.answers import Answers, Bools, Floats, Ints


@dataclasses.dataclass(frozen=True, slots=True)
class Suspect:
    """An image for which another class than its label is more probable.

    Attributes:
        index: of the image.
        label: its label, a class.
        suggested: the most probable class.
        probability: of the label, 0..1, not calibrated.
        margin: probability of the suggested class less that of the label, above 0 to 1.

    """

    index: int
    label: int
    suggested: int
    probability: float
    margin: float


@dataclasses.dataclass(frozen=True, slots=True)
class LabelErrors:
    """The suspects among some images.

    Attributes:
        suspects: those whose label has the lowest probability first.
        estimated: how many labels are wrong, by confident learning; the suspects that are right are beyond these.
        images: how many were looked at.

    """

    suspects: tuple[Suspect, ...]
    estimated: int
    images: int


def find_label_errors(answers: Answers, settled: Collection[int] = ()) -> LabelErrors:
    """The suspects by the probability of their label, which ranks wrong labels better than the margin does.

    Args:
        answers: to images that the answering model was not fitted on, cross-fitted for example.
        settled: indices of images whose label was looked at and is right; they are no suspects.

    """
    probabilities, label = answers.probabilities(), answers.truth
    rows = np.arange(len(answers))
    own, suggested = probabilities[rows, label], probabilities.argmax(axis=1)
    is_suspect = probabilities.max(axis=1) > own  # of equals, none is more probable
    is_suspect[list(settled)] = False
    found = np.flatnonzero(is_suspect)
    suspects = tuple(
        Suspect(i, int(label[i]), int(suggested[i]), float(own[i]), float(probabilities[i, suggested[i]] - own[i]))
        for i in found[np.argsort(own[found], kind="stable")].tolist()
    )
    estimated = int((is_suspect & _confidently_another(probabilities, label)).sum())
    return LabelErrors(suspects, estimated, len(answers))


def _confidently_another(probabilities: Floats, label: Ints) -> Bools:
    """Whether a class other than the label has at least the probability that its own images have on average."""
    classes = range(probabilities.shape[1])
    averages = np.array([probabilities[label == c, c].mean() if (label == c).any() else np.inf for c in classes])
    confident = probabilities >= averages
    # Of several such classes the most probable one counts.
    guess = np.where(confident.any(axis=1), np.where(confident, probabilities, -1).argmax(axis=1), label)
    another: Bools = guess != label
    return another
