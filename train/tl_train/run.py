"""`train(config, out)`: one training run from images to a folder with the model, its figures and its report."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tl_infer.system.files import write_text
from tl_train.config import TrainConfig
from tl_train.config.groups import size_in_words
from tl_train.data.dataset import Dataset, load_dataset
from tl_train.data.samples import Sample, labels_of
from tl_train.data.sources import read_source
from tl_train.errors import TrainingError
from tl_train.evaluation.answers import Answers
from tl_train.evaluation.calibration import MIN_IMAGES, Calibration, fit_calibration
from tl_train.evaluation.metrics import Evaluation
from tl_train.head.features import part_of
from tl_train.head.fit_head import FittedHead, features_suffice, fit_head
from tl_train.head.steps import head_logits
from tl_train.history import History
from tl_train.preflight.findings import Preflight
from tl_train.preflight.preflight import preflight
from tl_train.prepare import prepare
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder
from tl_train.run_folder.result import TrainResult
from tl_train.run_folder.save import save_run
from tl_train.setup import Setup
from tl_train.training.checkpoints import discard_checkpoints
from tl_train.training.predict import predict
from tl_train.training.processes import is_first_process, launch


def train(
    config: TrainConfig,
    out: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    command: str = "",
) -> TrainResult:
    """Fine-tune a network on images and write the run to `out`.

    Args:
        config: every choice of the run.
        out: folder to make, or an empty one.
        overwrite: replace an earlier run in that folder.
        resume: continue the unfinished run in that folder, to the weights it would have had without the interruption.
        progress: how to show what goes on; silent when None.
        command: the command line, for the report.

    Raises:
        TlError: anything the user can put right: data, weights, options, the output folder.

    """
    progress = progress or Progress()
    first = is_first_process()
    if first:
        RunFolder(out).check_writable(config, overwrite=overwrite, resume=resume)
    setup = prepare(config, progress)
    # Nothing of an earlier run is touched before everything that the user could have got wrong has been tried.
    if first and not resume:
        RunFolder(out).start(config)
        _report_preflight(setup.findings, out, progress)
    progress.note(_opening(setup))

    started = time.perf_counter()
    head, history = _learn(setup, out, progress)
    seconds = time.perf_counter() - started
    calibration = _calibrate(setup, head)
    for note in calibration.notes:
        progress.note(note)
    result = TrainResult(
        out=out,
        labels=setup.dataset.labels,
        history=history.epochs,
        evaluation=_evaluate(setup, calibration),
        calibration=calibration,
        seconds=seconds,
        kept_epoch=history.kept_epoch,
        parameters=setup.network.count_parameters(),
        prior=setup.prior,
        penalised=head.penalised,
    )
    if first:
        save_run(result, setup, command)
        discard_checkpoints(out)
    return result


def dry_run(config: TrainConfig, out: Path | None = None, *, progress: Progress | None = None) -> Preflight:
    """Look at the images as `train` would, and stop there.

    Unreadable images are findings here, whether or not `skip_bad` is set.

    Args:
        config: every choice of the run.
        out: folder for config.toml and preflight.json, in which the run itself may follow; None writes nothing.
        progress: gets the findings as notes.

    Raises:
        TlError: the data cannot be trained on, or the output folder cannot be used.

    """
    progress = progress or Progress()
    findings = preflight(load_dataset(config.changed(skip_bad=True), read_source(config, progress), progress))
    if out is not None:
        RunFolder(out).check_writable(config, overwrite=False, resume=False)  # nothing here is worth an earlier run
        RunFolder(out).start(config)
    _report_preflight(findings, out, progress)
    return findings


def _report_preflight(findings: Preflight, out: Path | None, progress: Progress) -> None:
    for line in findings.lines():
        progress.note(line)
    if out is not None:
        write_text(RunFolder(out).preflight_file, findings.to_json() + "\n")


def _opening(setup: Setup) -> str:
    config, dataset, size = setup.config, setup.dataset, size_in_words(setup.preprocessor.spec.size)
    counts = f"{len(dataset.train)} to train, {len(dataset.val)} to validate, {len(dataset.test)} to test"
    return (
        f"{config.data.source}: {len(dataset.labels)} classes, {counts}. "
        f"{config.model.arch} ({config.model.mode}) at {size} px, weights {config.model.weights}"
    )


def _learn(setup: Setup, out: Path, progress: Progress) -> tuple[FittedHead, History]:
    """The head on a frozen backbone, all parameters, or the one and then the other."""
    head = fit_head(setup, progress) if features_suffice(setup.config) else FittedHead([])
    if setup.config.model.mode == "head" and head.epochs:
        history = History(head.epochs, len(head.epochs))
    else:
        from tl_train.training.epochs import train_epochs  # which imports lightning

        history = train_epochs(launch(setup.config.steps), setup, out, progress)
    if not all(math.isfinite(row.train_loss) for row in history.epochs):
        raise TrainingError(
            f"the loss is no finite number; training has diverged, lower --lr ({setup.config.steps.lr:g})"
        )
    return head, history


def _calibration_pictures(dataset: Dataset, config: TrainConfig) -> tuple[Sequence[Sample], str]:
    """Images that were not trained on, chose no weights and give no accuracy, with what to call them."""
    if config.steps.patience is not None:
        return (), "images beside the validation images, which chose the epoch,"
    if config.steps.redraw_val:
        return (), "images beside the validation images, which are trained on in other epochs,"
    if not dataset.test:
        return (), "images beside the validation images, which give the accuracy,"
    return dataset.val, "validation images"


def _calibrate(setup: Setup, head: FittedHead) -> Calibration:
    """Temperature and threshold, from images that the model was neither trained on nor selected by."""
    dataset = setup.dataset
    samples, source = _calibration_pictures(dataset, setup.config)
    behind_frozen = setup.config.model.mode == "head" and head.cross_fitted is not None
    if behind_frozen and len(samples) < MIN_IMAGES <= len(dataset.train):
        assert head.cross_fitted is not None
        source = "training images, each judged by a head fitted without it"
        return fit_calibration(Answers(head.cross_fitted, labels_of(dataset.train)), source=source, may_sharpen=False)
    logits = _logits(setup, samples) if samples else np.zeros((0, 2), np.float32)
    return fit_calibration(Answers(logits, labels_of(samples)), source=source)


def _logits(setup: Setup, samples: Sequence[Sample]) -> npt.NDArray[np.float32]:
    """The network's answers; behind a frozen backbone the head's, to the features that are there already."""
    if setup.config.model.mode == "head" and setup.dataset.features is not None:
        return head_logits(setup.network.head, part_of(setup.dataset, samples))
    return predict(setup.network.module, samples, setup.preprocessor)


def _evaluate(setup: Setup, calibration: Calibration) -> Evaluation | None:
    part, samples = setup.dataset.held_out()
    if not samples:
        return None
    answers = Answers(_logits(setup, samples), labels_of(samples))
    return Evaluation(part, answers, calibration.temperature if calibration.fitted else None)
