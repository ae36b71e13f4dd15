"""A finished file's answers to held-out images, through the Classifier that users run."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tl_export.errors import ExportError
from tl_export.run_pictures import LabelledPicture
from tl_export.smaller.judged import LEAST_PROBABILITY, Judged, JudgedClasses, JudgedLabels
from tl_infer.classifier import Classifier
from tl_infer.errors import ImageError
from tl_infer.limits import Limits
from tl_infer.results import Classification


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class HeldOutAnswers:
    """What one file says.

    Attributes:
        predicted: of each image the most probable class, also where the file abstains; of a file that gives several
            labels, those.
        judged: the answers, judged by what is true.

    """

    predicted: Sequence[frozenset[str]]
    judged: Judged

    @property
    def log_loss(self) -> float:
        """Mean log-loss, nats."""
        return float(self.judged.log_losses.mean())

    def agreement(self, other: "HeldOutAnswers") -> float:
        """Share of the images on which both say the same, 0..1."""
        return sum(one == two for one, two in zip(self.predicted, other.predicted, strict=True)) / len(self.predicted)


def held_out_answers(model: bytes, pictures: Sequence[LabelledPicture], limits: Limits) -> HeldOutAnswers:
    """The answers of a file, its images decoded within limits.

    Raises:
        ExportError: an image cannot be read.

    """
    classifier = Classifier(model, limits=limits)
    answers = []
    for result in classifier.classify_many((item.picture for item in pictures), top_k=None):
        if isinstance(result, ImageError):
            raise ExportError(f"{result}; cannot measure on this image") from result
        answers.append(result)
    if classifier.gives_several:
        return _several(answers, pictures, classifier.labels)
    return _single(answers, pictures)


def _single(answers: Sequence[Classification], pictures: Sequence[LabelledPicture]) -> HeldOutAnswers:
    predicted, losses = [], []
    for answer, item in zip(answers, pictures, strict=True):
        predicted.append(frozenset({answer.top[0].label}))
        of_truth = next((score.probability for score in answer.top if score.label in item.labels), 0.0)
        losses.append(-math.log(max(of_truth, LEAST_PROBABILITY)))
    right = np.array([found == frozenset(item.labels) for found, item in zip(predicted, pictures, strict=True)])
    return HeldOutAnswers(predicted, JudgedClasses(right, np.array(losses)))


def _several(
    answers: Sequence[Classification], pictures: Sequence[LabelledPicture], labels: Sequence[str]
) -> HeldOutAnswers:
    probabilities, targets = (np.empty((len(pictures), len(labels))) for _ in range(2))
    for row, (answer, item) in enumerate(zip(answers, pictures, strict=True)):
        scores = {score.label: score.probability for score in answer.top}
        probabilities[row] = [scores[label] for label in labels]
        targets[row] = [math.nan if label in item.unknown else label in item.labels for label in labels]
    return HeldOutAnswers([frozenset(answer.labels) for answer in answers], JudgedLabels(probabilities, targets))
