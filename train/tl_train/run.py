"""`train(config, out)`: one training run from pictures to a folder with the model, its figures and its report."""

import dataclasses
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tl_infer.contract import ModelSpec, PreprocessSpec
from tl_infer.files import write_bytes, write_text
from tl_train import checkpoint, figures, report
from tl_train.calibration import Calibration, fit_calibration
from tl_train.config import TrainConfig
from tl_train.data import Dataset, Sample, fingerprint, load_dataset
from tl_train.drawing import png
from tl_train.loop import Epoch, fit, predict
from tl_train.metrics import Evaluation, measurements, softmax
from tl_train.models import Architecture, build_model, count_parameters, find_architecture
from tl_train.preprocess import Preprocessor
from tl_train.progress import Progress

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
        seconds: wall time of training, without looking for and decoding the pictures.

    """

    out: Path
    labels: tuple[str, ...]
    history: list[Epoch]
    evaluation: Evaluation | None
    calibration: Calibration
    seconds: float


def train(
    config: TrainConfig, out: Path, *, overwrite: bool = False, progress: Progress | None = None, command: str = ""
) -> TrainResult:
    """Fine-tune a network on pictures and write the run to `out`.

    Args:
        config: every choice of the run.
        out: folder to make, or an empty one.
        overwrite: replace an earlier run in that folder.
        progress: how to show what goes on; silent when None.
        command: the command line, for the report.

    Raises:
        TlError: anything the user can put right: data, weights, options, the output folder.

    """
    progress = progress or Progress()
    architecture = find_architecture(config.arch)
    side_px = config.size or architecture.size
    preprocess = PreprocessSpec(
        size=(side_px, side_px), mean=architecture.mean, std=architecture.std, color=config.color
    )
    dataset = load_dataset(config, progress)
    checkpoint.prepare_folder(out, overwrite)
    config.save(out / checkpoint.CONFIG)
    progress.note(_opening(config, dataset, side_px))

    torch.manual_seed(config.seed)
    model = build_model(architecture, config.weights, len(dataset.labels))
    preprocessor = Preprocessor(preprocess)
    started = time.perf_counter()
    history = fit(model, architecture, dataset, preprocessor, config, progress)
    seconds = time.perf_counter() - started

    # Validation pictures choose nothing here: the last epoch's weights are kept.
    calibration = _calibrate(model, dataset.val, "validation pictures", preprocessor)
    for note in calibration.notes:
        progress.note(note)
    evaluation = _evaluate(model, dataset, preprocessor, calibration)
    result = TrainResult(out, dataset.labels, history, evaluation, calibration, seconds)
    _save(result, config, dataset, model, architecture, preprocess, command)
    return result


def _opening(config: TrainConfig, dataset: Dataset, side_px: int) -> str:
    counts = f"{len(dataset.train)} to train, {len(dataset.val)} to validate, {len(dataset.test)} to test"
    return (
        f"{config.data}: {len(dataset.labels)} classes, {counts}. "
        f"{config.arch} ({config.mode}) at {side_px} px, weights {config.weights}"
    )


def _calibrate(model: nn.Module, samples: Sequence[Sample], source: str, preprocessor: Preprocessor) -> Calibration:
    """Temperature and threshold, from pictures that the model was neither trained on nor selected by."""
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
    config: TrainConfig,
    dataset: Dataset,
    model: nn.Module,
    architecture: Architecture,
    preprocess: PreprocessSpec,
    command: str,
) -> None:
    """Write everything into the run's folder; metrics.json last, as the sign of a finished run."""
    out, evaluation = result.out, result.evaluation
    spec = ModelSpec(
        labels=result.labels,
        preprocess=preprocess,
        architecture=architecture.name,
        weights=architecture.source if config.weights == "default" else config.weights,
        temperature=result.calibration.temperature,
        abstain_below=result.calibration.abstain_below,
        data_fingerprint=fingerprint(dataset),
        versions=_versions(),
        metrics={f"{evaluation.part}_accuracy": evaluation.accuracy} if evaluation else {},
    )
    checkpoint.save_model(out, model, spec)
    epochs = [dataclasses.astuple(row) for row in result.history]
    checkpoint.save_table(out / checkpoint.HISTORY, [field.name for field in dataclasses.fields(Epoch)], epochs)
    metrics = _metrics(result, config, dataset, model, spec)
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
        command=command,
    )
    write_text(out / checkpoint.REPORT, report.render(page))
    checkpoint.save_metrics(out, metrics)


def _save_predictions(result: TrainResult, evaluation: Evaluation, dataset: Dataset) -> list[str]:
    """A row per held-out picture, with its file; returns the files' names as the rows have them."""
    _, samples = dataset.held_out()
    paths = checkpoint.save_pictures(result.out, samples, dataset)
    header = ["path", "label", "predicted", *(f"p({label})" for label in result.labels)]
    rows = [
        [path, result.labels[truth], result.labels[predicted], *(f"{p:.6f}" for p in probabilities)]
        for path, truth, predicted, probabilities in zip(
            paths, evaluation.truth, evaluation.predicted, evaluation.probabilities, strict=True
        )
    ]
    checkpoint.save_table(result.out / checkpoint.PREDICTIONS, header, rows)
    return [str(path) for path in paths]


def _metrics(
    result: TrainResult, config: TrainConfig, dataset: Dataset, model: nn.Module, spec: ModelSpec
) -> dict[str, dict[str, object]]:
    total, learning = count_parameters(model)
    held_out = measurements(result.evaluation, result.labels) if result.evaluation else {}
    run: dict[str, object] = {
        "data": config.data,
        "pictures": f"{len(dataset.train)} train, {len(dataset.val)} validation, {len(dataset.test)} test",
        "architecture": config.arch,
        "weights": spec.weights,
        "mode": config.mode,
        "input": f"{spec.preprocess.size[0]} px, {spec.preprocess.color}, {spec.preprocess.fit}",
        "training": f"{config.epochs} epochs, batch {config.batch_size}, Adam {config.lr:g}",
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


def _versions() -> dict[str, str]:
    """Versions of what the result depends on."""
    names = ("tl-toolkit", "torch", "torchvision", "timm", "onnxruntime", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
