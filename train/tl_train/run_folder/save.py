"""Writing everything that a finished run leaves in its folder."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

from tl_infer.model.contract import ModelSpec, PreprocessSpec
from tl_infer.system.files import write_bytes, write_text
from tl_train.config import TrainConfig
from tl_train.data.dataset import Dataset
from tl_train.evaluation.metrics import measurements
from tl_train.head.penalised import StrengthTried
from tl_train.history import Epoch
from tl_train.models.network import LoadedWeights
from tl_train.report import figures
from tl_train.report.drawing import png
from tl_train.report.page import Page, render
from tl_train.run_folder.folder import RunFolder
from tl_train.run_folder.predictions import save_images, write_predictions
from tl_train.run_folder.result import TrainResult
from tl_train.tables import write_csv
from tl_train.training.checkpoints import Identity

_CAPTIONS = {
    "classification": "The predicted class of each held-out image; red lines divide the true classes.",
    "probabilities": "The predicted probabilities of each held-out image; red lines divide the true classes.",
    "penalty": "Cross-validated log-loss for each strength of the L2 penalty, with its standard error; chosen is the "
    "strongest within one standard error of the best.",
    "curves": "Loss and accuracy per epoch. Training accuracy is measured while training.",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunRecord:
    """A finished run with everything that was used for it.

    Attributes:
        result: what came out.
        identity: configuration, fingerprint of the data, versions.
        dataset: the pictures.
        model: the trained network.
        preprocess: of its input.
        loaded: what the network started from.
        warnings: of the preflight.
        command: the command line; empty when it was none.

    """

    result: TrainResult
    identity: Identity
    dataset: Dataset
    model: nn.Module
    preprocess: PreprocessSpec
    loaded: LoadedWeights
    warnings: Sequence[str]
    command: str


def save_run(record: RunRecord) -> None:
    """Write everything into the run's folder; metrics.json last, as the sign of a finished run.

    Raises:
        OutputPathError: a file cannot be written.

    """
    result = record.result
    run = RunFolder(result.out)
    run.save_model(record.model, _spec(record))
    epochs = [dataclasses.astuple(row) for row in result.history]
    write_csv(run.history_file, [field.name for field in dataclasses.fields(Epoch)], epochs)
    _save_head_fit(run, result)
    files = _save_answers(run, record)
    drawn = _draw(result)
    for name, figure in drawn.items():
        write_bytes(run.figure_file(name), png(figure))
    metrics = _metrics(record)
    write_text(run.report_file, render(_page(run, record, drawn, files, metrics["run"])))
    run.save_metrics(metrics)


def _spec(record: RunRecord) -> ModelSpec:
    result, identity = record.result, record.identity
    evaluation = result.evaluation
    return ModelSpec(
        labels=result.labels,
        preprocess=record.preprocess,
        architecture=identity.config.arch,
        weights=record.loaded.source,
        temperature=result.calibration.temperature,
        abstain_below=result.calibration.abstain_below,
        data_fingerprint=identity.data_fingerprint,
        versions=identity.versions,
        metrics={f"{evaluation.part}_accuracy": evaluation.accuracy} if evaluation else {},
    )


def _save_head_fit(run: RunFolder, result: TrainResult) -> None:
    """What the class names were taken for, and how the penalty was chosen, where there are such."""
    if result.prior is not None:
        write_text(run.prior_file, result.prior.to_json())
    if result.penalised is not None:
        header = [field.name for field in dataclasses.fields(StrengthTried)]
        rows = [dataclasses.astuple(tried) for tried in result.penalised.table]
        write_csv(run.penalty_file, header, rows)


def _save_answers(run: RunFolder, record: RunRecord) -> list[Path]:
    """Write predictions.csv where images were held out; returns their files as it names them."""
    result = record.result
    if result.evaluation is None:
        return []
    files = save_images(run.images_folder, record.dataset.held_out()[1], result.labels)
    write_predictions(run.predictions_file, result.evaluation, result.labels, files)
    return files


def _draw(result: TrainResult) -> dict[str, Figure]:
    """The figures that there is something to draw for, in the order of the page."""
    drawn = {}
    if result.evaluation is not None:
        drawn["classification"] = figures.classification(result.evaluation, result.labels)
        drawn["probabilities"] = figures.probabilities(result.evaluation, result.labels)
    if result.penalised is not None:
        drawn["penalty"] = figures.penalty(result.penalised.table, result.penalised.strength)
    if result.penalised is None or len(result.history) > 1:  # a head fitted at once has no curves
        drawn["curves"] = figures.curves(result.history)
    return drawn


def _page(
    run: RunFolder, record: RunRecord, drawn: Mapping[str, Figure], files: Sequence[Path], facts: Mapping[str, object]
) -> Page:
    result, config = record.result, record.identity.config
    _, held_out = record.dataset.held_out()
    return Page(
        title=f"{config.arch} on {Path(config.data).name}",
        labels=result.labels,
        history=result.history,
        figures={_CAPTIONS[name]: figure for name, figure in drawn.items()},
        facts={name: value for name, value in facts.items() if name != "versions"},
        evaluation=result.evaluation,
        calibration=result.calibration,
        names=list(map(str, files)),
        load=lambda index: held_out[index].load(),
        config=run.config_file.read_text(encoding="utf-8"),
        versions=record.identity.versions,
        warnings=record.warnings,
        notes=result.prior.describe() if result.prior else (),
        command=record.command,
    )


def _metrics(record: RunRecord) -> dict[str, dict[str, object]]:
    result = record.result
    held_out = measurements(result.evaluation, result.labels) if result.evaluation else {}
    return {"held_out": held_out, "calibration": dataclasses.asdict(result.calibration), "run": _facts(record)}


def _facts(record: RunRecord) -> dict[str, object]:
    """How the run was made, for metrics.json and the report."""
    result, dataset, identity, preprocess = record.result, record.dataset, record.identity, record.preprocess
    config = identity.config
    total, learning = result.parameters
    return {
        "data": config.data,
        "pictures": f"{len(dataset.train)} train, {len(dataset.val)} validation, {len(dataset.test)} test",
        "architecture": config.arch,
        "weights": record.loaded.source,
        "loaded_weights": str(record.loaded),
        "head": config.head,
        "mode": config.mode,
        "input": f"{preprocess.size[0]} px, {preprocess.color}, {preprocess.fit}",
        "training": _training(config),
        **_penalty(result),
        "kept_epoch": result.kept_epoch,
        "seed": config.seed,
        "parameters": total,
        "trained_parameters": learning,
        "seconds": round(result.seconds, 2),
        "threads": torch.get_num_threads(),
        "data_fingerprint": identity.data_fingerprint,
        "versions": ", ".join(f"{name} {number}" for name, number in identity.versions.items()),
    }


def _training(config: TrainConfig) -> str:
    if config.mode == "head" and config.head_fit == "penalised":
        return "head fitted at once, by L-BFGS"
    return f"{config.epochs} epochs, batch {config.batch_size}, {config.optimizer} {config.lr:g}"


def _penalty(result: TrainResult) -> dict[str, object]:
    """The penalty of the head and what it draws the head to; nothing of a head trained by steps."""
    if result.penalised is None:
        return {}
    towards = "zero" if result.prior is None else "; ".join(result.prior.describe())
    return {"penalty": f"{result.penalised.strength:.3g}, chosen by cross-validation", "drawn_to": towards}
