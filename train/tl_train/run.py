"""`train(config, out)`: one training run from pictures to a folder with the model, its figures and its report."""

import dataclasses
import math
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import nn

from tl_infer.model.contract import PreprocessSpec
from tl_infer.system.files import write_text
from tl_train.config import TrainConfig
from tl_train.data.dataset import Dataset, fingerprint, load_dataset
from tl_train.data.samples import Sample, labels_of
from tl_train.errors import TrainingError
from tl_train.evaluation.answers import Answers
from tl_train.evaluation.calibration import Calibration, fit_calibration
from tl_train.evaluation.metrics import Evaluation
from tl_train.head.fit_head import FrozenFit, fit_frozen
from tl_train.models.network import (
    Architecture,
    LoadedWeights,
    check_input,
    count_parameters,
    find_architecture,
    pretrained_head,
    start_model,
)
from tl_train.preflight.findings import Preflight
from tl_train.preflight.preflight import preflight
from tl_train.preprocess.graph import Preprocessor, spec_for
from tl_train.prior.prior import Prior, find_prior
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder
from tl_train.run_folder.result import TrainResult
from tl_train.run_folder.save import RunRecord, save_run
from tl_train.tensorboard import TensorBoardProgress
from tl_train.training.checkpoints import Identity, discard_checkpoints
from tl_train.training.epochs import Fit, fit
from tl_train.training.loop import predict


def train(
    config: TrainConfig,
    out: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    tensorboard: bool = False,
    progress: Progress | None = None,
    command: str = "",
) -> TrainResult:
    """Fine-tune a network on pictures and write the run to `out`.

    Args:
        config: every choice of the run.
        out: folder to make, or an empty one.
        overwrite: replace an earlier run in that folder.
        resume: continue the unfinished run in that folder, to the weights it would have had without the interruption.
        tensorboard: write the epochs as TensorBoard events, too.
        progress: how to show what goes on; silent when None.
        command: the command line, for the report.

    Raises:
        TlError: anything the user can put right: data, weights, options, the output folder.

    """
    progress = progress or Progress()
    fabric = _fabric(config)
    first = fabric.global_rank == 0
    if first:
        RunFolder(out).check_writable(config, overwrite=overwrite, resume=resume)
        if tensorboard:
            progress = TensorBoardProgress(progress, RunFolder(out).events_folder)
    start = _prepare(config, progress)
    # Nothing of an earlier run is touched before everything that the user could have got wrong has been tried.
    if first and not resume:
        RunFolder(out).start(config)
        _report_preflight(start.findings, out, progress)
    fabric.launch()  # starts the other processes, if any; they come here again from the beginning
    progress.note(_opening(config, start.dataset, start.preprocess.size[0]))

    preprocessor = Preprocessor(start.preprocess)
    started = time.perf_counter()
    frozen, fitted = _learn(start, preprocessor, fabric, out, progress)
    seconds = time.perf_counter() - started

    calibration = _calibrate(start.model, start.dataset, config, frozen.cross_fitted, preprocessor)
    for note in calibration.notes:
        progress.note(note)
    result = TrainResult(
        out=out,
        labels=start.dataset.labels,
        history=fitted.history,
        evaluation=_evaluate(start.model, start.dataset, preprocessor, calibration),
        calibration=calibration,
        seconds=seconds,
        kept_epoch=fitted.kept_epoch,
        parameters=count_parameters(start.model),
        prior=start.prior,
        penalised=frozen.penalised,
    )
    if first:
        save_run(RunRecord(
            result=result, identity=start.identity, dataset=start.dataset, model=start.model,
            preprocess=start.preprocess, loaded=start.loaded, warnings=start.findings.warnings, command=command,
        ))  # fmt: skip
        discard_checkpoints(out)
    return result


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Start:
    """All that a run needs before its first step; whatever the user got wrong was found while making it."""

    architecture: Architecture
    preprocess: PreprocessSpec
    dataset: Dataset
    findings: Preflight
    model: nn.Module
    loaded: LoadedWeights
    prior: Prior | None
    identity: Identity


def _prepare(config: TrainConfig, progress: Progress) -> _Start:
    architecture = find_architecture(config.arch)
    side_px = config.size or architecture.size
    architecture.check_size(side_px)
    preprocess = spec_for(config, (side_px, side_px), architecture.mean, architecture.std)
    dataset = load_dataset(config, progress)
    findings = preflight(dataset, progress)
    torch.manual_seed(config.seed)
    model, loaded = start_model(architecture, config.weights, len(dataset.labels), head=config.head)
    check_input(model, preprocess.size, config.arch)
    return _Start(
        architecture=architecture,
        preprocess=preprocess,
        dataset=dataset,
        findings=findings,
        model=model,
        loaded=loaded,
        prior=_prior(config, architecture, dataset, progress),
        identity=Identity(config, fingerprint(dataset), _versions(), torch.get_num_threads()),
    )


def _learn(
    start: _Start, preprocessor: Preprocessor, fabric: Fabric, out: Path, progress: Progress
) -> tuple[FrozenFit, Fit]:
    """The head on a frozen backbone, all parameters, or the one and then the other."""
    config = start.identity.config
    frozen = FrozenFit([])
    if config.head_fit == "penalised" or _features_suffice(config):
        frozen = fit_frozen(
            start.model, start.architecture, start.dataset, preprocessor, config, start.prior, progress
        )  # fmt: skip
    if config.mode == "head" and frozen.history:
        fitted = Fit(frozen.history, len(frozen.history))
    else:
        fitted = fit(
            fabric, start.model, start.architecture, start.dataset, preprocessor, start.identity, out, progress
        )
    if not all(math.isfinite(row.train_loss) for row in fitted.history):
        raise TrainingError(f"the loss is no finite number; training has diverged, lower --lr ({config.lr:g})")
    return frozen, fitted


def _fabric(config: TrainConfig) -> Fabric:
    """Device, precision and processes; launched later."""
    strategy = "ddp" if config.devices > 1 else "auto"
    return Fabric(accelerator="auto", devices=config.devices, strategy=strategy, precision=config.precision)


def dry_run(config: TrainConfig, out: Path | None = None, *, progress: Progress | None = None) -> Preflight:
    """Look at the pictures as `train` would, and stop there.

    Unreadable pictures are findings here, whether or not `config.skip_bad` is set.

    Args:
        config: every choice of the run.
        out: folder for config.toml and preflight.json, in which the run itself may follow; None writes nothing.
        progress: gets the findings as notes.

    Raises:
        TlError: the data cannot be trained on, or the output folder cannot be used.

    """
    progress = progress or Progress()
    findings = preflight(load_dataset(dataclasses.replace(config, skip_bad=True), progress), progress)
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


def _features_suffice(config: TrainConfig) -> bool:
    """Whether the head can be trained on features computed once: nothing changes the pictures or adds to the loop."""
    same_pictures = config.augment == "none" and not config.redraw_val
    plain_loop = (
        config.optimizer == "adam"
        and config.schedule == "constant"
        and config.class_weights == "none"
        and config.precision == "32-true"
        and config.devices == 1
        and config.patience is None
        and config.warmup_epochs == config.label_smoothing == config.ema == 0
    )
    return config.mode == "head" and config.head == "replace" and same_pictures and plain_loop


def _prior(config: TrainConfig, architecture: Architecture, dataset: Dataset, progress: Progress) -> Prior | None:
    """The prior that `config` asks for, with a word to the user; its fit to the weights is known before training."""
    if config.prior == "auto" and config.weights == "none":
        progress.note("Prior: not used, random weights know no classes.")
        return None
    if config.prior == "auto" and config.head_fit == "sgd":
        progress.note("Prior: not used, only the penalised head is drawn to one (--head-fit penalised).")
        return None
    finding = find_prior(config.prior, dataset.labels)
    for line in finding.notes:
        progress.note(line)
    if finding.prior is not None:
        finding.prior.head(*pretrained_head(architecture, config.weights))
    return finding.prior


def _opening(config: TrainConfig, dataset: Dataset, side_px: int) -> str:
    counts = f"{len(dataset.train)} to train, {len(dataset.val)} to validate, {len(dataset.test)} to test"
    return (
        f"{config.data}: {len(dataset.labels)} classes, {counts}. "
        f"{config.arch} ({config.mode}) at {side_px} px, weights {config.weights}"
    )


def _calibration_pictures(dataset: Dataset, config: TrainConfig) -> tuple[Sequence[Sample], str]:
    """Images that were not trained on, chose no weights and give no accuracy, with what to call them."""
    if config.patience is not None:
        return (), "images beside the validation images, which chose the epoch,"
    if config.redraw_val:
        return (), "images beside the validation images, which are trained on in other epochs,"
    if not dataset.test:
        return (), "images beside the validation images, which give the accuracy,"
    return dataset.val, "validation images"


def _calibrate(
    model: nn.Module,
    dataset: Dataset,
    config: TrainConfig,
    cross_fitted: npt.NDArray[np.float32] | None,
    preprocessor: Preprocessor,
) -> Calibration:
    """Temperature and threshold, from pictures that the model was neither trained on nor selected by."""
    if cross_fitted is not None:
        source = "training images, each judged by a head fitted without it"
        answers = Answers(cross_fitted, labels_of(dataset.train))
        return fit_calibration(answers, source=source, may_sharpen=False)
    samples, source = _calibration_pictures(dataset, config)
    logits = predict(model, samples, preprocessor) if samples else np.zeros((0, 2), np.float32)
    return fit_calibration(Answers(logits, labels_of(samples)), source=source)


def _evaluate(
    model: nn.Module, dataset: Dataset, preprocessor: Preprocessor, calibration: Calibration
) -> Evaluation | None:
    part, samples = dataset.held_out()
    if not samples:
        return None
    answers = Answers(predict(model, samples, preprocessor), labels_of(samples))
    return Evaluation(part, answers, calibration.temperature if calibration.fitted else None)


def _versions() -> dict[str, str]:
    """Versions of what the result depends on."""
    names = ("tl-toolkit", "torch", "torchvision", "timm", "onnxruntime", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
