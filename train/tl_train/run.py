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

from tl_infer.contract import ModelSpec, PreprocessSpec
from tl_infer.files import write_bytes, write_text
from tl_train import checkpoint, figures, report
from tl_train.calibration import Calibration, fit_calibration
from tl_train.config import TrainConfig
from tl_train.data import Dataset, Sample, fingerprint, load_dataset
from tl_train.drawing import png
from tl_train.errors import TrainingError
from tl_train.fit import Fit, fit
from tl_train.frozen import FrozenFit, fit_frozen
from tl_train.history import Epoch
from tl_train.loop import predict
from tl_train.metrics import Evaluation, measurements, softmax
from tl_train.models import (
    Architecture,
    LoadedWeights,
    check_input,
    count_parameters,
    find_architecture,
    pretrained_head,
    start_model,
)
from tl_train.penalised import PenalisedHead, StrengthTried
from tl_train.preflight import Preflight, preflight
from tl_train.preprocess import Preprocessor, spec_for
from tl_train.prior import Prior, find_prior
from tl_train.progress import Progress
from tl_train.resume import Identity, discard_checkpoints
from tl_train.tensorboard import FOLDER as EVENTS
from tl_train.tensorboard import TensorBoardProgress

_CAPTIONS = {
    "classification": "What each held-out picture was taken for; the red lines divide the true classes.",
    "probabilities": "How sure the network was: the probabilities of all classes for each held-out picture.",
    "curves": "Loss and accuracy over the epochs. Training accuracy is counted while training.",
}


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TrainResult:
    """A finished run.

    Attributes:
        out: its folder.
        labels: class names.
        history: a row per epoch.
        evaluation: answers on the held-out pictures; None when none were held back.
        calibration: temperature and abstention threshold, and what they were fitted on.
        seconds: wall time of training, without looking for and decoding the pictures; of a resumed run, since then.
        kept_epoch: whose weights were kept, counted from 1.
        parameters: of the network in all, and those that learned at the end.
        prior: what the class names were taken for; None without a prior.
        penalised: the penalised fit of the head; None when it was trained by steps.

    """

    out: Path
    labels: tuple[str, ...]
    history: list[Epoch]
    evaluation: Evaluation | None
    calibration: Calibration
    seconds: float
    kept_epoch: int
    parameters: tuple[int, int]
    prior: Prior | None = None
    penalised: PenalisedHead | None = None


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
    if fabric.global_rank == 0:
        checkpoint.check_folder(out, config, overwrite=overwrite, resume=resume)
        if tensorboard:
            progress = TensorBoardProgress(progress, out / EVENTS)
    architecture = find_architecture(config.arch)
    side_px = config.size or architecture.size
    architecture.check_size(side_px)
    preprocess = spec_for(config, (side_px, side_px), architecture.mean, architecture.std)
    dataset = load_dataset(config, progress)
    findings = preflight(dataset, progress)
    torch.manual_seed(config.seed)
    model, loaded = start_model(architecture, config.weights, len(dataset.labels), head=config.head)
    check_input(model, preprocess.size, config.arch)
    prior = _prior(config, architecture, dataset, progress)
    identity = Identity(config, fingerprint(dataset), _versions(), torch.get_num_threads())
    # Nothing of an earlier run is touched before everything that the user could have got wrong has been tried.
    if fabric.global_rank == 0 and not resume:
        checkpoint.start_folder(out, config)
        _report_preflight(findings, out, progress)
    fabric.launch()  # starts the other processes, if any; they come here again from the beginning
    progress.note(_opening(config, dataset, side_px))

    preprocessor = Preprocessor(preprocess)
    started = time.perf_counter()
    frozen = FrozenFit([])
    if config.head_fit == "penalised" or _features_suffice(config):
        frozen = fit_frozen(model, architecture, dataset, preprocessor, config, prior, progress)
    if config.mode == "head" and frozen.history:
        fitted = Fit(frozen.history, len(frozen.history))
    else:
        fitted = fit(fabric, model, architecture, dataset, preprocessor, identity, out, progress)
    seconds = time.perf_counter() - started
    if not all(math.isfinite(row.train_loss) for row in fitted.history):
        raise TrainingError(f"the loss is no finite number; training has diverged, lower --lr ({config.lr:g})")

    calibration = _calibrate(model, dataset, config, frozen.cross_fitted, preprocessor)
    for note in calibration.notes:
        progress.note(note)
    evaluation = _evaluate(model, dataset, preprocessor, calibration)
    result = TrainResult(
        out,
        dataset.labels,
        fitted.history,
        evaluation,
        calibration,
        seconds,
        fitted.kept_epoch,
        count_parameters(model),
        prior,
        frozen.penalised,
    )
    if fabric.global_rank == 0:
        _save(result, identity, dataset, model, architecture, preprocess, loaded, findings.warnings, command)
        discard_checkpoints(out)
    return result


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
        checkpoint.check_folder(out, config, overwrite=False, resume=False)  # nothing here is worth an earlier run
        checkpoint.start_folder(out, config)
    _report_preflight(findings, out, progress)
    return findings


def _report_preflight(findings: Preflight, out: Path | None, progress: Progress) -> None:
    for line in findings.lines():
        progress.note(line)
    if out is not None:
        write_text(out / checkpoint.PREFLIGHT, findings.to_json() + "\n")


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
    """Pictures that were not trained on, chose no weights and give no accuracy, with what to call them."""
    if config.patience is not None:
        return (), "pictures beside the validation pictures, which chose the epoch,"
    if config.redraw_val:
        return (), "pictures beside the validation pictures, which are trained on in other epochs,"
    if not dataset.test:
        return (), "pictures beside the validation pictures, which give the accuracy,"
    return dataset.val, "validation pictures"


def _calibrate(
    model: nn.Module,
    dataset: Dataset,
    config: TrainConfig,
    cross_fitted: npt.NDArray[np.float32] | None,
    preprocessor: Preprocessor,
) -> Calibration:
    """Temperature and threshold, from pictures that the model was neither trained on nor selected by."""
    if cross_fitted is not None:
        truth = np.array([sample.label for sample in dataset.train], dtype=np.int64)
        source = "training pictures, each judged by a head fitted without it"
        return fit_calibration(cross_fitted, truth, source=source, may_sharpen=False)
    samples, source = _calibration_pictures(dataset, config)
    truth = np.array([sample.label for sample in samples], dtype=np.int64)
    logits = predict(model, samples, preprocessor) if samples else np.zeros((0, 2), np.float32)
    return fit_calibration(logits, truth, source=source)


def _evaluate(
    model: nn.Module, dataset: Dataset, preprocessor: Preprocessor, calibration: Calibration
) -> Evaluation | None:
    part, samples = dataset.held_out()
    if not samples:
        return None
    truth = np.array([sample.label for sample in samples], dtype=np.int64)
    logits = predict(model, samples, preprocessor)
    uncalibrated = softmax(logits) if calibration.fitted else None
    return Evaluation(part, truth, softmax(logits / calibration.temperature), uncalibrated)


def _save(
    result: TrainResult,
    identity: Identity,
    dataset: Dataset,
    model: nn.Module,
    architecture: Architecture,
    preprocess: PreprocessSpec,
    loaded: LoadedWeights,
    warnings: Sequence[str],
    command: str,
) -> None:
    """Write everything into the run's folder; metrics.json last, as the sign of a finished run."""
    out, evaluation, config = result.out, result.evaluation, identity.config
    spec = ModelSpec(
        labels=result.labels,
        preprocess=preprocess,
        architecture=architecture.name,
        weights=loaded.source,
        temperature=result.calibration.temperature,
        abstain_below=result.calibration.abstain_below,
        data_fingerprint=identity.data_fingerprint,
        versions=identity.versions,
        metrics={f"{evaluation.part}_accuracy": evaluation.accuracy} if evaluation else {},
    )
    checkpoint.save_model(out, model, spec)
    epochs = [dataclasses.astuple(row) for row in result.history]
    checkpoint.save_table(out / checkpoint.HISTORY, [field.name for field in dataclasses.fields(Epoch)], epochs)
    _save_head_fit(result)
    metrics = _metrics(result, config, dataset, spec, loaded)
    drawn, names = {}, []
    if evaluation is not None:
        names = _save_predictions(result, evaluation, dataset)
        drawn["classification"] = figures.classification(evaluation, result.labels)
        drawn["probabilities"] = figures.probabilities(evaluation, result.labels)
    drawn["curves"] = figures.curves(result.history)
    for name, figure in drawn.items():
        write_bytes(out / f"{name}.png", png(figure))
    page = report.Page(
        title=f"{config.arch} on {Path(config.data).name}",
        labels=result.labels,
        history=result.history,
        figures={_CAPTIONS[name]: figure for name, figure in drawn.items()},
        facts={name: value for name, value in metrics["run"].items() if name != "versions"},
        evaluation=evaluation,
        calibration=result.calibration,
        names=names,
        load=lambda index: dataset.held_out()[1][index].load(),
        config=(out / checkpoint.CONFIG).read_text(encoding="utf-8"),
        versions=spec.versions,
        warnings=warnings,
        notes=result.prior.describe() if result.prior else (),
        command=command,
    )
    write_text(out / checkpoint.REPORT, report.render(page))
    checkpoint.save_metrics(out, metrics)


def _save_head_fit(result: TrainResult) -> None:
    """What the class names were taken for, and how the penalty was chosen, where there are such."""
    for name in (checkpoint.PRIOR, checkpoint.PENALTY):
        (result.out / name).unlink(missing_ok=True)  # of the run that this one replaces
    if result.prior is not None:
        write_text(result.out / checkpoint.PRIOR, result.prior.to_json())
    if result.penalised is not None:
        header = [field.name for field in dataclasses.fields(StrengthTried)]
        rows = [dataclasses.astuple(tried) for tried in result.penalised.table]
        checkpoint.save_table(result.out / checkpoint.PENALTY, header, rows)


def _save_predictions(result: TrainResult, evaluation: Evaluation, dataset: Dataset) -> list[str]:
    """A row per held-out picture, with its file; returns the files' names as the rows have them."""
    _, samples = dataset.held_out()
    paths = checkpoint.save_pictures(result.out, samples, dataset)
    header = ["path", "label", "predicted", *(f"p({label})" for label in result.labels)]
    rows = [
        [str(path), result.labels[truth], result.labels[predicted], *(round(float(p), 6) for p in probabilities)]
        for path, truth, predicted, probabilities in zip(
            paths, evaluation.truth, evaluation.predicted, evaluation.probabilities, strict=True
        )
    ]
    checkpoint.save_table(result.out / checkpoint.PREDICTIONS, header, rows)
    return [str(path) for path in paths]


def _metrics(
    result: TrainResult, config: TrainConfig, dataset: Dataset, spec: ModelSpec, loaded: LoadedWeights
) -> dict[str, dict[str, object]]:
    total, learning = result.parameters
    held_out = measurements(result.evaluation, result.labels) if result.evaluation else {}
    run: dict[str, object] = {
        "data": config.data,
        "pictures": f"{len(dataset.train)} train, {len(dataset.val)} validation, {len(dataset.test)} test",
        "architecture": config.arch,
        "weights": spec.weights,
        "loaded_weights": str(loaded),
        "head": config.head,
        "mode": config.mode,
        "input": f"{spec.preprocess.size[0]} px, {spec.preprocess.color}, {spec.preprocess.fit}",
        "training": _training(config),
        **_head_fit(result),
        "kept_epoch": result.kept_epoch,
        "seed": config.seed,
        "parameters": total,
        "trained_parameters": learning,
        "seconds": round(result.seconds, 2),
        "threads": torch.get_num_threads(),
        "data_fingerprint": spec.data_fingerprint,
        "versions": ", ".join(f"{name} {number}" for name, number in spec.versions.items()),
    }
    calibration = dataclasses.asdict(result.calibration)
    return {"held_out": held_out, "calibration": calibration, "run": run}


def _training(config: TrainConfig) -> str:
    if config.mode == "head" and config.head_fit == "penalised":
        return "head fitted at once, by L-BFGS"
    return f"{config.epochs} epochs, batch {config.batch_size}, Adam {config.lr:g}"


def _head_fit(result: TrainResult) -> dict[str, object]:
    """Lines on the penalised fit, for metrics.json and the report."""
    if result.penalised is None:
        return {}
    towards = "zero" if result.prior is None else "; ".join(result.prior.describe())
    return {"head": f"penalty {result.penalised.strength:.3g}, chosen by cross-validation", "drawn_to": towards}


def _versions() -> dict[str, str]:
    """Versions of what the result depends on."""
    names = ("tl-toolkit", "torch", "torchvision", "timm", "onnxruntime", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
