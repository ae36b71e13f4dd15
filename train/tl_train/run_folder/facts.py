"""How a run was made, as metrics.json, the report and the model itself say it."""

import collections
import dataclasses
from collections.abc import Mapping

from tl_infer.model.contract import ModelSpec
from tl_train.config import TrainConfig
from tl_train.config.choices import TRAINS_STAGES, size_in_words
from tl_train.data.dataset import Dataset
from tl_train.run_folder.result import TrainResult
from tl_train.setup import Setup


def plain_spec(result: TrainResult, setup: Setup, metrics: Mapping[str, float]) -> ModelSpec:
    """What every model says of itself, whatever it decides by."""
    return ModelSpec(
        labels=result.labels,
        preprocess=setup.preprocessor.spec,
        architecture=setup.config.model.arch,
        weights=setup.network.loaded.source,
        data_fingerprint=setup.identity.data_fingerprint,
        versions=setup.identity.versions,
        metrics=metrics,
    )


def shown_facts(result: TrainResult, setup: Setup) -> dict[str, object]:
    """The facts as the page lists them; versions have a row of their own there, compared architectures a table."""
    found = facts(result, setup)
    del found["versions"]
    found.pop("architectures", None)
    # metrics.json keeps the name that earlier versions gave it
    return {"images" if name == "pictures" else name: value for name, value in found.items()}


def facts(result: TrainResult, setup: Setup) -> dict[str, object]:
    """How the run was made, for metrics.json and the report."""
    config, dataset, identity, preprocess = setup.config, setup.dataset, setup.identity, setup.preprocessor.spec
    total, learning = result.parameters
    return {
        "data": config.data.source,
        "pictures": f"{len(dataset.train)} train, {len(dataset.val)} validation, {len(dataset.test)} test",
        **({} if dataset.has_several else _label_facts(result, dataset)),
        "architecture": config.model.arch,
        "weights": setup.network.loaded.source,
        "loaded_weights": str(setup.network.loaded),
        "head": config.head.kind,
        "mode": config.model.mode,
        "input": f"{size_in_words(preprocess.size)} px, {preprocess.color}, {preprocess.fit}",
        "training": _training(result, config),
        **({"steps": result.step_form} if result.step_form else {}),
        **({"tried": _tried(result)} if result.tried else {}),
        **_activations(result),
        **({"architectures": list(map(dataclasses.asdict, result.architectures))} if result.architectures else {}),
        **_penalty(result),
        "kept_epoch": result.kept_epoch,
        "seed": config.seed,
        "parameters": total,
        "trained_parameters": learning,
        "seconds": round(result.seconds, 2),
        "threads": identity.threads,
        "data_fingerprint": identity.data_fingerprint,
        "versions": ", ".join(f"{name} {number}" for name, number in identity.versions.items()),
    }


def _label_facts(result: TrainResult, dataset: Dataset) -> dict[str, object]:
    """What was corrected, and how many labels may be wrong."""
    counted = collections.Counter(fix.action for fix in dataset.fixes)
    fixes = f"{counted['relabel']} relabelled, {counted['drop']} dropped, {counted['keep']} kept; see fixes.csv"
    errors = result.label_errors
    return {
        **({"label_fixes": fixes} if dataset.fixes else {}),
        "suspects": "not looked for" if errors is None else len(errors.suspects),
        **({"estimated_label_errors": errors.estimated} if errors else {}),
    }


def _training(result: TrainResult, config: TrainConfig) -> str:
    untried = config.model.mode in ("head", *TRAINS_STAGES) and not result.tried
    if (result.penalised or result.several) is not None and (untried or not result.kept_epoch):
        return "head fitted at once, with a penalty"
    steps, epochs = config.steps, len(result.history)
    return f"{epochs} epoch{'s' * (epochs != 1)}, batch {steps.batch_size}, {steps.optimizer} {steps.lr:g}"


def _penalty(result: TrainResult) -> dict[str, object]:
    """The penalty of the head and what it draws the head to; nothing of a head trained by steps."""
    if result.several is not None and result.several.heads is not None:
        low, high = min(result.several.heads.strengths), max(result.several.heads.strengths)
        return {"penalty": f"{low:.3g} to {high:.3g}, chosen for each label by cross-validation", "drawn_to": "zero"}
    if result.penalised is None:
        return {}
    towards = "zero" if result.prior is None else "; ".join(result.prior.describe())
    return {"penalty": f"{result.penalised.strength:.3g}, chosen by cross-validation", "drawn_to": towards}


def _activations(result: TrainResult) -> dict[str, object]:
    difference = result.activation_difference
    return {} if difference is None else {"activation_difference": round(difference, 6)}


def _tried(result: TrainResult) -> str:
    """The ways to train that were compared, in a line each."""
    lines = []
    for way in result.tried:
        figures = "" if way.judged is None else f"log-loss {way.judged[0]:.4f}, accuracy {way.judged[1]:.1%}, "
        lines.append(f"{way.name}: {figures}{way.seconds:.0f} s{' (kept)' if way.kept else ''}")
    return "; ".join(lines)
