"""Writing what a finished run leaves in its folder whose images may have several labels."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tl_infer.model.contract import ModelSpec
from tl_infer.system.files import write_bytes, write_text
from tl_infer.text.label_sets import joined
from tl_train.evaluation.multi_label import LabelEvaluation, label_measurements
from tl_train.head.cross_validation import StrengthTried
from tl_train.history import Epoch
from tl_train.report import alt_texts, figures
from tl_train.report.drawing import Described, png
from tl_train.report.label_figures import precision_recall
from tl_train.report.label_page import LabelPage, render_label_page
from tl_train.run_folder.facts import facts, plain_spec, shown_facts
from tl_train.run_folder.folder import RunFolder
from tl_train.run_folder.result import SeveralLabels, TrainResult
from tl_train.setup import Setup
from tl_train.tables import write_csv

_CURVES = "Loss and accuracy per epoch, the latter over all known labels. Training accuracy is measured while training."


def save_multi_label_run(result: TrainResult, run: RunFolder, setup: Setup, command: str) -> None:
    """Write everything into the run's folder; metrics.json last, as the sign of a finished run.

    Args:
        result: what came out; it has `several`.
        run: where to.
        setup: what it was made of; its network is the trained one.
        command: the command line; empty when it was none.

    Raises:
        OutputPathError: a file cannot be written.

    """
    several = result.several
    assert several is not None
    run.save_model(setup.network.module, _spec(result, several, setup))
    run.save_history(result.history)
    if several.heads is not None:
        header = ["label", *(field.name for field in dataclasses.fields(StrengthTried))]
        tables = zip(result.labels, several.heads.tables, strict=True)
        rows = [[label, *dataclasses.astuple(tried)] for label, table in tables for tried in table]
        write_csv(run.penalty_file, header, rows)
    held_out = setup.dataset.held_out()[1]
    files = [Path(sample.where) for sample in held_out]
    if several.evaluation is not None:
        _write_predictions(run.predictions_file, several.evaluation, result.labels, files)
        figure = precision_recall(several.evaluation, result.labels)
        write_bytes(run.figure_file("precision_recall"), png(figure))
    write_text(run.report_file, render_label_page(_page(result, several, setup, files, command)))
    run.save_metrics(_metrics(result, several, setup))


def _spec(result: TrainResult, several: SeveralLabels, setup: Setup) -> ModelSpec:
    return dataclasses.replace(
        plain_spec(result, setup, _main_metrics(several.evaluation)),
        task="multi",
        thresholds=tuple(several.decisions.thresholds.tolist()),
        temperatures=tuple(several.decisions.temperatures.tolist()),
    )


def _main_metrics(evaluation: LabelEvaluation | None) -> dict[str, float]:
    if evaluation is None:
        return {}
    values = {
        "mean_average_precision": evaluation.mean_average_precision,
        "micro_f1": evaluation.micro_f1,
        "macro_f1": evaluation.macro_f1,
    }
    return {f"{evaluation.part}_{name}": value for name, value in values.items() if value is not None}


def _write_predictions(
    listing: Path, evaluation: LabelEvaluation, labels: Sequence[str], files: Sequence[Path]
) -> None:
    """A row per held-out image: its labels, those unknown of it, those it is given, the probability of each."""
    header = ["path", "labels", "unknown", "predicted", *(f"p({label})" for label in labels)]
    write_csv(listing, header, _prediction_rows(evaluation, labels, files))


def _prediction_rows(
    evaluation: LabelEvaluation, labels: Sequence[str], files: Sequence[Path]
) -> Iterator[list[object]]:
    chosen = (evaluation.present, ~evaluation.answers.known, evaluation.predicted)
    for row, file in enumerate(files):
        named = [joined([labels[place] for place in np.flatnonzero(which[row]).tolist()]) for which in chosen]
        yield [file, *named, *(round(float(p), 6) for p in evaluation.probabilities[row])]


def _page(result: TrainResult, several: SeveralLabels, setup: Setup, files: Sequence[Path], command: str) -> LabelPage:
    held_out = setup.dataset.held_out()[1]
    return LabelPage(
        title=f"{setup.config.model.arch} on {Path(setup.config.data.source).name}",
        labels=result.labels,
        history=result.history,
        figures={_CURVES: _curves(result.history)} if len(result.history) > 1 else {},
        facts=shown_facts(result, setup),
        decisions=several.decisions,
        evaluation=several.evaluation,
        names=list(map(str, files)),
        load=lambda index: held_out[index].load(),
        use_of_validation=setup.config.steps.use_of_validation,
        warnings=setup.findings.warnings,
        config=setup.config.to_toml(),
        versions=setup.identity.versions,
        command=command,
    )


def _curves(history: Sequence[Epoch]) -> Described:
    return Described(figures.curves(history), alt_texts.of_curves(history))


def _metrics(result: TrainResult, several: SeveralLabels, setup: Setup) -> dict[str, dict[str, object]]:
    decisions, evaluation = several.decisions, several.evaluation
    return {
        "held_out": {} if evaluation is None else label_measurements(evaluation, result.labels),
        "calibration": {
            "temperatures": decisions.temperatures.tolist(),
            "thresholds": decisions.thresholds.tolist(),
            "pictures": decisions.images,
            "source": decisions.source,
            "notes": list(decisions.notes),
        },
        "run": facts(result, setup),
    }
