"""Temperature and thresholds of an int8 network, fitted as in training and on the same images."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tl_export.run_pictures import RunImages
from tl_infer.model.contract import ModelSpec
from tl_train.data.samples import Sample, truth_of
from tl_train.evaluation.answers import Answers
from tl_train.evaluation.calibration import MIN_IMAGES, fit_calibration
from tl_train.evaluation.label_decisions import fit_decisions
from tl_train.evaluation.multi_label import LabelAnswers
from tl_train.run.judge import CROSS_FITTED
from tl_train.run.spare_images import calibration_images

Logits = npt.NDArray[np.float32]


def recalibrated(
    spec: ModelSpec, images: RunImages, cross_fitted: Logits | None, logits_of: Callable[[Sequence[Sample]], Logits]
) -> ModelSpec:
    """The spec of a run for another network; as it was where no images have anything to say of that.

    Args:
        spec: the run's.
        images: of the run.
        cross_fitted: (N, C), answers to its training images, each of a head that was fitted without it; None where
            there are none.
        logits_of: the network's answers to images, (n, C).

    """
    if spec.task == "multi":
        return _several(spec, images, cross_fitted, logits_of)
    samples, source = calibration_images(images.config, images.dataset)
    if len(samples) >= MIN_IMAGES:
        found = fit_calibration(Answers(logits_of(samples), truth_of(samples)), source=source)
    elif cross_fitted is not None and len(cross_fitted) >= MIN_IMAGES:
        answers = Answers(cross_fitted, truth_of(images.dataset.train))
        found = fit_calibration(answers, source=CROSS_FITTED, may_sharpen=False)
    else:
        return spec
    return dataclasses.replace(spec, temperature=found.temperature, abstain_below=found.abstain_below)


def _several(
    spec: ModelSpec, images: RunImages, cross_fitted: Logits | None, logits_of: Callable[[Sequence[Sample]], Logits]
) -> ModelSpec:
    """Training takes the cross-fitted answers first, of which there are more."""
    samples, source = calibration_images(images.config, images.dataset)
    if cross_fitted is not None:
        answers, source = LabelAnswers(cross_fitted, truth_of(images.dataset.train)), CROSS_FITTED
    elif len(samples) >= MIN_IMAGES:
        answers = LabelAnswers(logits_of(samples), truth_of(samples))
    else:
        return spec
    found = fit_decisions(
        answers,
        spec.labels,
        source=source,
        precision=images.config.head.label_precision,
        may_sharpen=cross_fitted is None,
    )
    return dataclasses.replace(
        spec, temperatures=tuple(found.temperatures.tolist()), thresholds=tuple(found.thresholds.tolist())
    )
