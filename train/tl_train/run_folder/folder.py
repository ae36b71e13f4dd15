"""A run's folder: writing what a training run leaves behind, and reading back the model in it."""

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
from torch import nn

from tl_infer.errors import ModelFileError
from tl_infer.model.contract import ModelSpec
from tl_infer.system.files import write_bytes, write_text
from tl_train.config import TrainConfig
from tl_train.data.dataset import Dataset
from tl_train.data.samples import Sample
from tl_train.errors import RunError, WeightsError
from tl_train.models.architectures import Architecture, find_architecture
from tl_train.models.new_head import head_kind_of, put_new_head
from tl_train.models.weight_files import read_weights
from tl_train.tensorboard import FOLDER as EVENTS
from tl_train.training.checkpoints import FOLDER

CONFIG = "config.toml"
SPEC = "spec.json"
WEIGHTS = "weights.safetensors"
HISTORY = "history.csv"
METRICS = "metrics.json"
PREDICTIONS = "predictions.csv"
PICTURES = "held_out"
REPORT = "report.html"
FIGURES = ("classification.png", "probabilities.png", "curves.png", "penalty.png")
EXPORTED = ("model.onnx", "model.parity.json", "model.md")  # what tl-export writes unless told otherwise
PREFLIGHT = "preflight.json"
PRIOR = "prior.json"
PENALTY = "penalty.csv"
# What a run may have left, the sign of a finished one first.
RUN_FILES = (METRICS, SPEC, WEIGHTS, HISTORY, PREDICTIONS, REPORT, PREFLIGHT, PRIOR, PENALTY, *EXPORTED, *FIGURES)


def check_folder(out: Path, config: TrainConfig, *, overwrite: bool, resume: bool) -> None:
    """Say at once whether a run can be written to `out`; nothing is changed.

    Raises:
        RunError: the folder holds another run (unless `overwrite`), holds other files, or cannot be used; with
            `resume`, it holds no unfinished run of the same configuration.

    """
    try:
        existing = sorted(entry.name for entry in out.iterdir()) if out.is_dir() else []
        if not out.is_dir():
            out.stat()
            raise RunError(f"{out}: is a file; expected the folder of a run")
    except FileNotFoundError:
        existing = []
    except OSError as error:
        raise RunError(f"{out}: cannot be used as the run's folder: {error.strerror or error}") from error
    if resume:
        _check_resumable(out, config, existing)
        return
    if existing and CONFIG not in existing:
        raise RunError(f"{out}: holds other files ({existing[0]}, ...); choose a new folder for the run")
    if METRICS in existing and not overwrite:
        raise RunError(f"{out}: holds a run already; choose another folder, or replace it with --overwrite")
    if FOLDER in existing and not overwrite:
        raise RunError(f"{out}: holds an unfinished run; continue it with --resume, or replace it with --overwrite")


def start_folder(out: Path, config: TrainConfig) -> None:
    """Make the folder, clear it of an earlier run, and write config.toml.

    metrics.json goes first, so a folder that is half cleared holds no finished run. Files that no run wrote stay.

    Raises:
        RunError: the folder cannot be made or cleared.
        OutputPathError: config.toml cannot be written.

    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in RUN_FILES:
            (out / name).unlink(missing_ok=True)
        for name in (PICTURES, FOLDER, EVENTS):
            if (out / name).exists():
                shutil.rmtree(out / name)
    except OSError as error:
        raise RunError(f"{out}: cannot be used as the run's folder: {error.strerror or error}") from error
    config.save(out / CONFIG)


def _check_resumable(out: Path, config: TrainConfig, existing: list[str]) -> None:
    if CONFIG not in existing:
        raise RunError(f"{out}: holds no run to resume; start it without --resume")
    if METRICS in existing:
        raise RunError(f"{out}: the run is finished, there is nothing to resume")
    if differences := TrainConfig.load(out / CONFIG).difference(config):
        raise RunError(f"{out}: cannot be resumed with other options (then, now): {'; '.join(differences)}")


def save_model(out: Path, model: nn.Module, spec: ModelSpec) -> None:
    """Write the weights and what they mean.

    Raises:
        OutputPathError: a file cannot be written.

    """
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(out / WEIGHTS, safetensors.torch.save(tensors))
    write_text(out / SPEC, spec.to_json() + "\n")


def load_model(run: Path) -> tuple[nn.Module, ModelSpec, Architecture]:
    """The trained network of a finished run, in evaluation mode, with its spec and architecture.

    Raises:
        RunError: not a run, not finished, or files that do not belong together.

    """
    if not run.is_dir():
        raise RunError(f"{run}: no such folder; expected one that tl-train wrote")
    for name in (CONFIG, SPEC, WEIGHTS, METRICS):
        if not (run / name).is_file():
            raise RunError(f"{run}: {name} is missing; expected a finished run of tl-train")
    try:
        spec = ModelSpec.from_json((run / SPEC).read_text(encoding="utf-8"))
        architecture = find_architecture(spec.architecture)
        tensors = read_weights(run / WEIGHTS)
        model = architecture.build()
        put_new_head(model, architecture, len(spec.labels), head_kind_of(tensors, architecture))
        model.load_state_dict(dict(tensors))
    except (ModelFileError, WeightsError, OSError, UnicodeDecodeError) as error:
        raise RunError(f"{run}: {error}; train again with tl-train") from error
    except RuntimeError as error:  # torch's own for names or shapes that do not match
        raise RunError(f"{run}: {WEIGHTS} does not fit {SPEC}: {_detail(error)}; train again with tl-train") from error
    return model.eval(), spec, architecture


def save_metrics(out: Path, metrics: Mapping[str, object]) -> None:
    """Write metrics.json; it comes last, so a run that has one is finished."""
    write_text(out / METRICS, json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def save_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file."""
    text = io.StringIO()
    # Everything is quoted: unquoted, a carriage return in a file name would split its row.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(header)
    writer.writerows(rows)
    # A file name that is not valid Unicode keeps its bytes, so that the file can be found again.
    write_bytes(path, text.getvalue().encode("utf-8", errors="surrogateescape"))


def held_out_files(run: Path) -> list[Path]:
    """The picture files that the run reported on, as listed in its predictions.

    Raises:
        RunError: the run held no pictures back, or its list is damaged.

    """
    listing = run / PREDICTIONS
    try:
        with listing.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return [run / row["path"] for row in csv.DictReader(file)]  # an absolute path stays what it is
    except (OSError, KeyError, ValueError) as error:
        raise RunError(
            f"{listing}: no list of held-out pictures ({error}); give pictures to verify on with --images"
        ) from error


def save_pictures(out: Path, samples: Sequence[Sample], dataset: Dataset) -> list[Path]:
    """Where each sample lies as a file; those that are not files are written as PNG, one folder per class.

    Returns:
        A path per sample: its own, absolute, or one relative to `out`.

    """
    from PIL import Image

    paths = []
    for sample in samples:
        if sample.path is not None:
            paths.append(sample.path)
            continue
        path = Path(PICTURES) / dataset.labels[sample.label] / f"{sample.name}.png"
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        Image.fromarray(sample.load()).save(buffer, format="PNG")
        write_bytes(out / path, buffer.getvalue())
        paths.append(path)
    return paths


def _detail(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return lines[1] if len(lines) > 1 else lines[0]
