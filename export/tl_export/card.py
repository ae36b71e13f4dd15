"""The model card: what somebody who is handed the file should know, generated from what was measured.

The front matter is that of Hugging Face's model cards, for other tools to read; the text below it is for people.
Source of the headings: Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import PurePath
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from tl_export.options import Precision
from tl_export.proof.precision import STORED
from tl_export.proof.trained import Trained
from tl_export.results import ExportResult
from tl_infer.model.contract import ModelSpec
from tl_infer.text.safetext import printable
from tl_train.data.samples import PART_NAMES
from tl_train.errors import RunError
from tl_train.evaluation.calibration import MIN_IMAGES
from tl_train.evaluation.metrics import percent
from tl_train.models.architectures import Architecture

_TEMPLATE = "model_card.md.j2"
_MAX_CLASSES = 100
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&$])")

_TASK = "image-classification"
_TAGS = ("onnx", "tl-toolkit")
# Key in metrics.json -> the front matter's type and name of the metric.
_METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "log_loss": ("log_loss", "Log-loss"),
    "brier": ("brier_score", "Brier score"),
    "calibration_error": ("expected_calibration_error", "Expected calibration error"),
}
_SEVERAL_METRICS = {
    "mean_average_precision": ("mean_average_precision", "Mean average precision"),
    "micro_f1": ("f1", "Micro F1"),
    "macro_f1": ("f1", "Macro F1"),
}
# Of the licences that published weights have, those that the front matter names by an identifier of its own.
# Source: https://huggingface.co/docs/hub/repositories-licenses
_LICENCES = ("apache-2.0", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "mit")


Metrics = Mapping[str, Mapping[str, Any]]
Named = Mapping[str, tuple[str, str]]


def model_card(result: ExportResult, spec: ModelSpec, trained: Trained, metrics: Metrics) -> str:
    """The card as Markdown with front matter; the same run and proof give the same text.

    Args:
        result: the file, and what was proven of it.
        spec: as stored in the file.
        trained: the run that the file was exported from.
        metrics: the run's, as `RunFolder.metrics` gives them.

    Raises:
        RunError: the run's metrics.json is not what tl-train writes.

    """
    licence = _weights_licence(spec, trained.route.architecture)
    try:
        measured = _METRICS if spec.task == "single" else _SEVERAL_METRICS
        front_matter = _front_matter(result, metrics, licence, measured)
        body = _body(result, spec, metrics, licence, trained)
    except (jinja2.UndefinedError, KeyError, TypeError, ValueError) as error:
        path = trained.run.metrics_file
        raise RunError(f"{path}: not as this tl-toolkit writes it ({error}); train again") from error
    return str(ModelCard(f"---\n{front_matter.to_yaml()}\n---\n\n{body}"))


def _weights_licence(spec: ModelSpec, architecture: Architecture) -> str:
    """Of the published weights that the network started from; "" where it did not, or where it is not stated."""
    return architecture.licence if spec.weights == architecture.source != "none" else ""


def _front_matter(result: ExportResult, metrics: Metrics, licence: str, measured: Named) -> ModelCardData:
    identifier = licence.lower()
    known = identifier in _LICENCES
    return ModelCardData(
        license=(identifier if known else "other") if licence else None,
        license_name=identifier if licence and not known else None,
        library_name="onnxruntime",
        pipeline_tag=_TASK,
        tags=list(_TAGS),
        model_name=printable(result.path.stem),
        eval_results=_eval_results(result, metrics, measured),
    )


def _eval_results(result: ExportResult, metrics: Metrics, measured: Named) -> list[EvalResult] | None:
    """What was measured on held-out images: of this very file, or of the float32 model where its name says so."""
    if not metrics["held_out"]:
        return None
    precision = result.proof.precision
    values = {key: value for key in measured if (value := metrics["held_out"][key]) is not None}
    if precision is Precision.INT8 and result.int8 is not None:
        of_file = result.int8.int8
        found = {of_file.metric.key: of_file.score, "log_loss": of_file.log_loss}
        values = {key: value for key, value in found.items() if key in measured}
    of_model = " (float32 model)" if precision is Precision.FP16 else ""
    return [
        EvalResult(
            task_type=_TASK,
            dataset_type="custom",
            dataset_name=printable(_data_name(metrics)),
            dataset_split=_part(metrics),
            metric_type=measured[key][0],
            metric_name=measured[key][1] + of_model,
            metric_value=float(value),
        )
        for key, value in values.items()
    ]


def _body(result: ExportResult, spec: ModelSpec, metrics: Metrics, licence: str, trained: Trained) -> str:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown, not HTML: every text of the user's goes through `escape`
        finalize=lambda value: "" if value is None else value, loader=jinja2.FunctionLoader(_template),
    )  # fmt: skip
    environment.filters["escape_md"] = escape
    environment.filters["python_text"] = lambda text: json.dumps(text, ensure_ascii=False)  # Python reads it the same
    environment.filters["percent"] = lambda share: percent(share, 2)
    environment.filters["number"] = lambda value: "not defined" if value is None else f"{value:.3f}"
    return environment.get_template(_TEMPLATE).render(
        name=result.path.name,
        spec=spec,
        outputs=result.outputs,
        proof=result.proof,
        int8=result.int8,
        added=result.added,
        stored=STORED[result.proof.precision],
        golden=result.golden,
        megabytes=result.size_bytes / 1e6,
        run=metrics["run"],
        held_out=metrics["held_out"],
        caveats=metrics["held_out"].get("caveats", ()),  # which earlier versions did not look for
        calibration=metrics["calibration"],
        enough_to_calibrate=metrics["calibration"]["pictures"] >= MIN_IMAGES,
        use_of_validation=trained.run.config().steps.use_of_validation,
        familiarity=metrics.get("familiarity", {}),
        licence=licence,
        bit_depth=trained.route.limits.bit_depth,
        data=_data_name(metrics),
        part=_part(metrics),
        max_classes=_MAX_CLASSES,
    )


def _template(name: str) -> str:
    return resources.files("tl_export").joinpath(name).read_text(encoding="utf-8")


def _data_name(metrics: Metrics) -> str:
    return PurePath(str(metrics["run"]["data"])).name


def _part(metrics: Metrics) -> str:
    return PART_NAMES.get(metrics["held_out"].get("part", ""), "held-out")


def escape(text: object) -> str:
    """Any text as one line that Markdown shows as it is."""
    return _MARKDOWN.sub(r"\\\1", printable(str(text)))
