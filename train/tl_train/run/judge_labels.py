"""How good a network is whose images may have several labels: a decision for each label, and held-out answers."""

from pathlib import Path

import numpy as np

from tl_train.data.samples import targets_of
from tl_train.evaluation.calibration import MIN_IMAGES, Calibration
from tl_train.evaluation.label_decisions import LabelDecisions, fit_decisions
from tl_train.evaluation.multi_label import LabelAnswers, LabelEvaluation
from tl_train.progress import Progress
from tl_train.run.judge import CROSS_FITTED, TrainedNetwork
from tl_train.run.spare_images import calibration_images
from tl_train.run_folder.result import SeveralLabels, TrainResult


def judged_labels(network: TrainedNetwork, out: Path, seconds: float, progress: Progress) -> TrainResult:
    """Fit temperatures and thresholds, and see how good the answers are."""
    setup, learned = network.setup, network.learned
    decisions = _decide(network)
    for note in decisions.notes:
        progress.note(note)
    several = SeveralLabels(_evaluate(network, decisions), decisions, learned.head.label_heads)
    return TrainResult(
        out=out,
        labels=setup.dataset.labels,
        history=learned.history.epochs,
        evaluation=None,
        calibration=Calibration(1.0, None, decisions.images, decisions.source, decisions.notes),
        seconds=seconds,
        kept_epoch=learned.history.kept_epoch,
        parameters=setup.network.count_parameters(),
        tried=learned.tried(),
        step_form="" if learned.form is None else str(learned.form),
        several=several,
    )


def _decide(network: TrainedNetwork) -> LabelDecisions:
    """The decisions, from images that the network was not fitted on: training images, each judged by other heads.

    Where the backbone learned too, nobody but the validation images can judge it.
    """
    setup, learned = network.setup, network.learned
    labels, precision = setup.dataset.labels, setup.config.head.label_precision
    if learned.backbone_is_frozen and learned.head.cross_fitted is not None:
        answers = LabelAnswers(learned.head.cross_fitted, targets_of(setup.dataset.train, len(labels)))
        return fit_decisions(answers, labels, source=CROSS_FITTED, precision=precision, may_sharpen=False)
    samples, source = calibration_images(setup.config, setup.dataset)
    if (whole := learned.whole) is not None:
        return fit_decisions(LabelAnswers(whole.logits, whole.truth), labels, source=source, precision=precision)
    samples = samples if len(samples) >= MIN_IMAGES else ()
    logits = network.part("val").logits if samples else np.zeros((0, len(labels)), np.float32)
    answers = LabelAnswers(logits, targets_of(samples, len(labels)))
    return fit_decisions(answers, labels, source=source, precision=precision)


def _evaluate(network: TrainedNetwork, decisions: LabelDecisions) -> LabelEvaluation | None:
    part, samples = network.setup.dataset.held_out()
    if not samples:
        return None
    answers = LabelAnswers(network.part(part).logits, targets_of(samples, len(network.setup.dataset.labels)))
    return LabelEvaluation(part, answers, decisions.temperatures, decisions.thresholds)
