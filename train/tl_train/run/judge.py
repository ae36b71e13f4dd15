"""How good a trained network is: calibration on images that chose nothing, and its answers to the held-out ones."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tl_train.config import TrainConfig
from tl_train.data.dataset import Dataset
from tl_train.data.samples import Sample, labels_of
from tl_train.evaluation.answers import Answers
from tl_train.evaluation.calibration import MIN_IMAGES, Calibration, fit_calibration
from tl_train.evaluation.label_errors import LabelErrors, find_label_errors
from tl_train.evaluation.metrics import Evaluation
from tl_train.head.features import part_of
from tl_train.head.steps import head_logits
from tl_train.run.learn import Learned
from tl_train.setup import Setup
from tl_train.training.predict import predict

# What calibrated a head where there are no images to spare, in words.
CROSS_FITTED = "training images, each judged by a head fitted without it"


def calibrate(setup: Setup, learned: Learned) -> Calibration:
    """Temperature and threshold, from images that the model was neither trained on nor selected by."""
    dataset, cross_fitted = setup.dataset, learned.head.cross_fitted
    samples, source = calibration_images(setup.config, dataset)
    if learned.backbone_is_frozen and cross_fitted is not None and len(samples) < MIN_IMAGES <= len(dataset.train):
        source = CROSS_FITTED
        return fit_calibration(Answers(cross_fitted, labels_of(dataset.train)), source=source, may_sharpen=False)
    logits = _logits(setup, learned, samples) if samples else np.zeros((0, 2), np.float32)
    return fit_calibration(Answers(logits, labels_of(samples)), source=source)


def evaluate_held_out(setup: Setup, learned: Learned, calibration: Calibration) -> Evaluation | None:
    """The network's answers to the held-out images; None where there are none."""
    part, samples = setup.dataset.held_out()
    if not samples:
        return None
    answers = Answers(_logits(setup, learned, samples), labels_of(samples))
    return Evaluation(part, answers, calibration.temperature if calibration.fitted else None)


def suspects(setup: Setup, learned: Learned) -> LabelErrors | None:
    """Training images whose label may be wrong; None without a head that was cross-fitted before any other training."""
    train, logits = setup.dataset.train, learned.head.cross_fitted
    if logits is None:
        return None
    decided = {fix.name for fix in setup.dataset.fixes}
    settled = [index for index, sample in enumerate(train) if sample.name in decided]
    return find_label_errors(Answers(logits, labels_of(train)), settled)


def calibration_images(config: TrainConfig, dataset: Dataset) -> tuple[Sequence[Sample], str]:
    """Images that were not trained on, chose no weights and give no accuracy, with what to call them."""
    if config.steps.patience is not None:
        return (), "images beside the validation images, which chose the epoch,"
    if config.steps.redraw_val:
        return (), "images beside the validation images, which are trained on in other epochs,"
    if not dataset.test:
        return (), "images beside the validation images, which give the accuracy,"
    return dataset.val, "validation images"


def _logits(setup: Setup, learned: Learned, samples: Sequence[Sample]) -> npt.NDArray[np.float32]:
    """The network's answers; on a frozen backbone the head's, on the cached features."""
    if learned.backbone_is_frozen and setup.dataset.features is not None:
        return head_logits(setup.network.head, part_of(setup.dataset, samples))
    return predict(setup.network.module, samples, setup.preprocessor)
