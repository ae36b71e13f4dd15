"""A finished file's answers to held-out images, through the Classifier that users run."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tl_export.errors import ExportError
from tl_export.run_pictures import LabelledPicture
from tl_export.smaller.measure import Judged
from tl_infer.classifier import Classifier
from tl_infer.errors import ImageError
from tl_infer.limits import Limits

# Rounding of float32: less probability than this is told apart from none only by the logits.
_LEAST_PROBABILITY = 1e-7


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class HeldOutAnswers:
    """What one file says.

    Attributes:
        predicted: the most probable class of each image, also where the file abstains.
        judged: the answers, judged by the true classes.

    """

    predicted: Sequence[str]
    judged: Judged

    @property
    def accuracy(self) -> float:
        """Share of the images that got their true label, 0..1."""
        return float(self.judged.right.mean())

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
    predicted, losses = [], []
    results = Classifier(model, limits=limits).classify_many((item.picture for item in pictures), top_k=None)
    for result, item in zip(results, pictures, strict=True):
        if isinstance(result, ImageError):
            raise ExportError(f"{result}; cannot measure on this image") from result
        predicted.append(result.top[0].label)
        of_truth = next((score.probability for score in result.top if score.label == item.label), 0.0)
        losses.append(-math.log(max(of_truth, _LEAST_PROBABILITY)))
    right = np.array([label == item.label for label, item in zip(predicted, pictures, strict=True)])
    return HeldOutAnswers(predicted, Judged(right, np.array(losses)))
