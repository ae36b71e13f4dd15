"""Writing everything that a finished run leaves in its folder."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from tl_infer.model.contract import FamiliaritySpec, ModelSpec
from tl_infer.system.files import write_bytes, write_text
from tl_train.evaluation.metrics import measurements
from tl_train.head.cross_validation import StrengthTried
from tl_train.report import alt_texts, figures
from tl_train.report.caveats import accuracy_caveats
from tl_train.report.drawing import Described, png
from tl_train.report.label_check import check_labels
from tl_train.report.page import Page, render
from tl_train.run_folder.compared import table
from tl_train.run_folder.facts import facts, plain_spec, shown_facts
from tl_train.run_folder.folder import RunFolder
from tl_train.run_folder.predictions import save_images, write_predictions
from tl_train.run_folder.result import TrainResult
from tl_train.run_folder.suspects_file import write_suspects
from tl_train.setup import Setup
from tl_train.tables import write_csv

_CAPTIONS = {
    "classification": "The predicted class of each held-out image; red lines divide the true classes.",
    "probabilities": "The predicted probabilities of each held-out image; red lines divide the true classes.",
    "penalty": "Cross-validated log-loss for each strength of the L2 penalty, with its standard error; chosen is the "
    "strongest within one standard error of the best, or within what one undecided image adds where that is more.",
    "curves": "Loss and accuracy per epoch. Training accuracy is measured while training; label smoothing and class "
    "weights count in the training loss only.",
}


def save_run(result: TrainResult, run: RunFolder, setup: Setup, command: str) -> None:
    """Write everything into the run's folder; metrics.json last, as the sign of a finished run.

    Args:
        result: what came out.
        run: where to.
        setup: what it was made of; its network is the trained one.
        command: the command line; empty when it was none.

    Raises:
        OutputPathError: a file cannot be written.

    """
    if result.familiarity is not None and result.familiarity.familiarity is not None:
        write_bytes(run.familiarity_file, result.familiarity.familiarity.to_bytes())
    run.save_model(setup.network.module, _spec(result, setup))
    run.save_history(result.history)
    _save_head_fit(run, result)
    write_suspects(run.suspects_file, setup.dataset, result.label_errors, setup.findings)
    files = _save_answers(run, result, setup)
    drawn = _draw(result)
    for name, described in drawn.items():
        write_bytes(run.figure_file(name), png(described.figure))
    page = _page(result, setup, drawn, files, command)
    write_text(run.report_file, render(page))
    run.save_metrics(_metrics(result, setup, page.caveats))


def _spec(result: TrainResult, setup: Setup) -> ModelSpec:
    evaluation, fitted = result.evaluation, result.familiarity
    found = None if fitted is None else fitted.report
    familiarity = None if found is None else FamiliaritySpec(
        unfamiliar_below=found.unfamiliar_below, images=found.images
    )  # fmt: skip
    metrics = {f"{evaluation.part}_accuracy": evaluation.accuracy} if evaluation else {}
    return dataclasses.replace(
        plain_spec(result, setup, metrics),
        temperature=result.calibration.temperature,
        abstain_below=result.calibration.abstain_below,
        familiarity=familiarity,
    )


def _save_head_fit(run: RunFolder, result: TrainResult) -> None:
    """The prior of the head and the penalties tried, where there are such."""
    if result.prior is not None:
        write_text(run.prior_file, result.prior.to_json())
    if result.penalised is not None:
        header = [field.name for field in dataclasses.fields(StrengthTried)]
        rows = [dataclasses.astuple(tried) for tried in result.penalised.table]
        write_csv(run.penalty_file, header, rows)


def _save_answers(run: RunFolder, result: TrainResult, setup: Setup) -> list[Path]:
    """Write predictions.csv where images were held out; returns their files as it names them."""
    if result.evaluation is None:
        return []
    files = save_images(run.images_folder, setup.dataset.held_out()[1], result.labels)
    write_predictions(run.predictions_file, result.evaluation, result.labels, files)
    return files


def _draw(result: TrainResult) -> dict[str, Described]:
    """The figures that there is something to draw for, in the order of the page."""
    drawn = {}
    if (found := result.evaluation) is not None:
        drawn["classification"] = Described(
            figures.classification(found, result.labels), alt_texts.of_classification(found, result.labels)
        )
        drawn["probabilities"] = Described(
            figures.probabilities(found, result.labels), alt_texts.of_probabilities(found)
        )
    if (head := result.penalised) is not None:
        drawn["penalty"] = Described(
            figures.penalty(head.table, head.strength), alt_texts.of_penalty(head.table, head.strength)
        )
    if result.penalised is None or len(result.history) > 1:  # a head fitted at once has no curves
        drawn["curves"] = Described(figures.curves(result.history), alt_texts.of_curves(result.history))
    return drawn


def _page(
    result: TrainResult, setup: Setup, drawn: Mapping[str, Described], files: Sequence[Path], command: str
) -> Page:
    config = setup.config
    _, held_out = setup.dataset.held_out()
    return Page(
        title=f"{config.model.arch} on {Path(config.data.source).name}",
        labels=result.labels,
        history=result.history,
        figures={_CAPTIONS[name]: described for name, described in drawn.items()},
        facts=shown_facts(result, setup),
        evaluation=result.evaluation,
        calibration=result.calibration,
        familiarity=result.familiarity,
        names=list(map(str, files)),
        load=lambda index: held_out[index].load(),
        label_check=check_labels(setup.dataset, result.label_errors, setup.findings),
        config=config.to_toml(),
        versions=setup.identity.versions,
        use_of_validation=config.steps.use_of_validation,
        warnings=setup.findings.warnings,
        notes=result.prior.describe() if result.prior else (),
        caveats=list(accuracy_caveats(setup.dataset, setup.findings)),
        command=command,
        compared=table(result.architectures) if result.architectures else (),
    )


def _metrics(result: TrainResult, setup: Setup, caveats: Sequence[str]) -> dict[str, dict[str, object]]:
    held_out: dict[str, object] = {}
    if result.evaluation is not None:
        held_out = {**measurements(result.evaluation, result.labels), "caveats": caveats}
    return {
        "held_out": held_out,
        "calibration": dataclasses.asdict(result.calibration),
        "familiarity": {} if result.familiarity is None else result.familiarity.document(),
        "run": facts(result, setup),
    }
