"""Writing everything that a finished run leaves in its folder."""

import dataclasses
from pathlib import Path

import torch

from tl_infer.model.contract import ModelSpec
from tl_infer.system.files import write_bytes, write_text
from tl_train.config import TrainConfig
from tl_train.data.dataset import Dataset
from tl_train.evaluation.metrics import Evaluation, measurements
from tl_train.head.penalised import StrengthTried
from tl_train.history import Epoch
from tl_train.report import figures
from tl_train.report import page as report
from tl_train.report.drawing import png
from tl_train.run_folder import folder as checkpoint
from tl_train.run_folder.result import TrainResult
from tl_train.setup import Setup

_CAPTIONS = {
    "classification": "What each held-out picture was taken for; the red lines divide the true classes.",
    "probabilities": "How sure the network was: the probabilities of all classes for each held-out picture.",
    "penalty": "How strongly the head may be held: the strongest penalty that the training pictures do not contradict.",
    "curves": "Loss and accuracy over the epochs. Training accuracy is counted while training.",
}


def save_run(result: TrainResult, setup: Setup, command: str) -> None:
    """Write everything into the run's folder; metrics.json last, as the sign of a finished run.

    Args:
        result: what came out.
        setup: what it was made of; its network is the trained one.
        command: the command line; empty when it was none.

    Raises:
        OutputPathError: a file cannot be written.

    """
    dataset, config = setup.dataset, setup.config
    out, evaluation = result.out, result.evaluation
    spec = ModelSpec(
        labels=result.labels,
        preprocess=setup.preprocessor.spec,
        architecture=config.model.arch,
        weights=setup.network.loaded.source,
        temperature=result.calibration.temperature,
        abstain_below=result.calibration.abstain_below,
        data_fingerprint=setup.identity.data_fingerprint,
        versions=setup.identity.versions,
        metrics={f"{evaluation.part}_accuracy": evaluation.accuracy} if evaluation else {},
    )
    checkpoint.save_model(out, setup.network.module, spec)
    epochs = [dataclasses.astuple(row) for row in result.history]
    checkpoint.save_table(out / checkpoint.HISTORY, [field.name for field in dataclasses.fields(Epoch)], epochs)
    _save_head_fit(result)
    metrics = _metrics(result, setup, spec)
    drawn, names = {}, []
    if evaluation is not None:
        names = _save_predictions(result, evaluation, dataset)
        drawn["classification"] = figures.classification(evaluation, result.labels)
        drawn["probabilities"] = figures.probabilities(evaluation, result.labels)
    if result.penalised is not None:
        drawn["penalty"] = figures.penalty(result.penalised.table, result.penalised.strength)
    if result.penalised is None or len(result.history) > 1:  # a head fitted at once has no curves
        drawn["curves"] = figures.curves(result.history)
    for name, figure in drawn.items():
        write_bytes(out / f"{name}.png", png(figure))
    page = report.Page(
        title=f"{config.model.arch} on {Path(config.data.source).name}",
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
        warnings=setup.findings.warnings,
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


def _metrics(result: TrainResult, setup: Setup, spec: ModelSpec) -> dict[str, dict[str, object]]:
    dataset, config = setup.dataset, setup.config
    total, learning = result.parameters
    held_out = measurements(result.evaluation, result.labels) if result.evaluation else {}
    run: dict[str, object] = {
        "data": config.data.source,
        "pictures": f"{len(dataset.train)} train, {len(dataset.val)} validation, {len(dataset.test)} test",
        "architecture": config.model.arch,
        "weights": spec.weights,
        "loaded_weights": str(setup.network.loaded),
        "head": config.head.kind,
        "mode": config.model.mode,
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
    if config.model.mode == "head" and config.head.fit == "penalised":
        return "head fitted at once, by L-BFGS"
    steps = config.steps
    return f"{steps.epochs} epochs, batch {steps.batch_size}, {steps.optimizer} {steps.lr:g}"


def _head_fit(result: TrainResult) -> dict[str, object]:
    """Lines on the penalised fit, for metrics.json and the report."""
    if result.penalised is None:
        return {}
    towards = "zero" if result.prior is None else "; ".join(result.prior.describe())
    return {"head": f"penalty {result.penalised.strength:.3g}, chosen by cross-validation", "drawn_to": towards}
