"""How good a trained network is: calibration on images that chose nothing, and its answers to the held-out ones."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tl_train.data.samples import Sample, labels_of
from tl_train.evaluation.answers import Answers
from tl_train.evaluation.calibration import MIN_IMAGES, Calibration, fit_calibration
from tl_train.evaluation.label_errors import LabelErrors, find_label_errors
from tl_train.evaluation.metrics import Evaluation
from tl_train.head.features import BackboneFeatures, CachedPart, part_of
from tl_train.head.steps import head_logits
from tl_train.progress import Progress
from tl_train.run.learn import Learned
from tl_train.run.spare_images import calibration_images
from tl_train.setup import Setup
from tl_train.training.predict import predict_and_embed

Floats = npt.NDArray[np.float32]

# What calibrated a head where there are no images to spare, in words.
CROSS_FITTED = "training images (each judged by a head fitted without it)"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What a network makes of N images: logits (N, C) and embeddings (N, D)."""

    logits: Floats
    embeddings: Floats


class TrainedNetwork:
    """The network that was learned, run on images of the data set; each part is run once.

    Attributes:
        setup: the run.
        learned: what was learned in it.

    """

    def __init__(self, setup: Setup, learned: Learned) -> None:
        self.setup = setup
        self.learned = learned
        self._of_part: dict[str, Outputs] = {}

    def part(self, name: str) -> Outputs:
        """The outputs for a part of the data set that has images."""
        if name not in self._of_part:
            self._of_part[name] = self.outputs(self.setup.dataset.part(name))
        return self._of_part[name]

    def outputs(self, samples: Sequence[Sample]) -> Outputs:
        """The outputs for samples of the data set; on a frozen backbone the head's, on the cached features."""
        if self._features_tell:
            return self._of_head(part_of(self.setup.dataset, samples))
        return self.run(samples)

    def run(self, samples: Sequence[Sample]) -> Outputs:
        """The outputs for any samples, from their pixels."""
        if self._features_tell:
            return self._of_head(self._features.of_images(samples))
        return Outputs(*predict_and_embed(self.setup.network, samples, self.setup.preprocessor))

    @property
    def _features_tell(self) -> bool:
        """Whether features and head answer for the network; onnxruntime computes features faster."""
        return self.learned.backbone_is_frozen and self.setup.dataset.features is not None

    @functools.cached_property
    def _features(self) -> BackboneFeatures:
        return BackboneFeatures.of(self.setup.network, self.setup.preprocessor, Progress())

    def _of_head(self, part: CachedPart) -> Outputs:
        return Outputs(head_logits(self.setup.network.head, part), part.features)


def calibrate(network: TrainedNetwork) -> Calibration:
    """Temperature and threshold, from images that the model was neither trained on nor selected by."""
    learned, dataset = network.learned, network.setup.dataset
    cross_fitted = learned.head.cross_fitted
    samples, source = calibration_images(network.setup.config, dataset)
    if learned.backbone_is_frozen and cross_fitted is not None and len(samples) < MIN_IMAGES <= len(dataset.train):
        return fit_calibration(Answers(cross_fitted, labels_of(dataset.train)), source=CROSS_FITTED, may_sharpen=False)
    if (whole := learned.whole) is not None:
        return fit_calibration(Answers(whole.logits, whole.truth), source=source)
    stages = learned.stages
    if stages is not None and not learned.backbone_is_frozen and len(samples) < MIN_IMAGES <= len(stages.chosen.truth):
        held_back = Answers(stages.chosen.logits, stages.chosen.truth)
        return fit_calibration(held_back, source="training images, held back from a first training")
    logits = network.part("val").logits if samples else np.zeros((0, 2), np.float32)
    return fit_calibration(Answers(logits, labels_of(samples)), source=source)


def evaluate_held_out(network: TrainedNetwork, calibration: Calibration) -> Evaluation | None:
    """The network's answers to the held-out images; None where there are none.

    Raises:
        CalibrationError: an answer is not a finite number.

    """
    part, samples = network.setup.dataset.held_out()
    if not samples:
        return None
    answers = Answers(network.part(part).logits, labels_of(samples))
    answers.check_finite()
    return Evaluation(part, answers, calibration.temperature if calibration.fitted else None)


def suspects(network: TrainedNetwork, progress: Progress) -> LabelErrors | None:
    """Training images whose label may be wrong; None without a head that was cross-fitted before any other training."""
    dataset, logits = network.setup.dataset, network.learned.head.cross_fitted
    if logits is None:
        return None
    decided = {fix.name for fix in dataset.fixes}
    settled = [index for index, sample in enumerate(dataset.train) if sample.name in decided]
    found = find_label_errors(Answers(logits, labels_of(dataset.train)), settled)
    if found.suspects:
        progress.note(
            f"Labels to check: {len(found.suspects)} of {found.images} training images "
            f"look{'s' * (len(found.suspects) == 1)} like another class to a "
            f"head that did not see them; about {found.estimated} may be labelled wrong, fewer where the head errs "
            "often; see suspects.csv and the report"
        )
    return found
