"""`RunFolder`: the folder that a training run writes, and that tl-export reads."""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from tl_infer.errors import ModelFileError, first_line
from tl_infer.model.contract import ModelSpec
from tl_infer.system.files import read_bytes, read_text, write_bytes, write_text
from tl_train.config import TrainConfig
from tl_train.errors import RunError, WeightsError
from tl_train.familiarity.score import Familiarity
from tl_train.history import Epoch, History
from tl_train.models.architectures import Architecture, find_architecture
from tl_train.models.new_head import head_kind_of, put_new_head
from tl_train.models.weight_files import read_weights
from tl_train.run_folder.predictions import (
    LabelPrediction,
    Prediction,
    read_label_predictions,
    read_paths,
    read_predictions,
)
from tl_train.tables import read_csv, write_csv
from tl_train.tensorboard import FOLDER as EVENTS
from tl_train.training.checkpoints import FOLDER as CHECKPOINTS

FIGURES = ("classification", "probabilities", "curves", "penalty", "precision_recall")
_METRICS_PARTS = ("held_out", "calibration", "run")
_MAX_FAMILIARITY_BYTES = 10_000_000  # what tl-train writes has two megabytes at most


class RunFolder:
    """The folder of one run; making this object neither reads nor writes anything.

    Attributes:
        path: of the folder.
        config_file: the configuration, TOML; what marks the folder as a run's.
        spec_file, weights_file: the trained model: what its numbers mean, and the numbers.
        familiarity_file: what the exported file computes its familiarity with; where there were images enough.
        history_file: a row per epoch.
        metrics_file: everything that was measured; written last, so a run that has it is finished.
        predictions_file: a row per held-out image.
        suspects_file: training images to look at: labels that may be wrong, duplicates.
        fixes_file: corrections of labels that the run was trained with.
        images_folder: held-out images that had no file of their own.
        report_file: the page for people.
        preflight_file: what a look at the data told.
        prior_file, penalty_file: the ImageNet classes that the class names stand for, and the penalties tried.
        architectures_file: the architectures that were compared, where several were.
        model_file: where tl-export writes the model unless told otherwise.
        events_folder, checkpoints_folder: of TensorBoard, and of an unfinished run.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.toml"
        self.spec_file = path / "spec.json"
        self.weights_file = path / "weights.safetensors"
        self.familiarity_file = path / "familiarity.safetensors"
        self.history_file = path / "history.csv"
        self.metrics_file = path / "metrics.json"
        self.predictions_file = path / "predictions.csv"
        self.suspects_file = path / "suspects.csv"
        self.fixes_file = path / "fixes.csv"
        self.images_folder = path / "held_out"
        self.report_file = path / "report.html"
        self.preflight_file = path / "preflight.json"
        self.prior_file = path / "prior.json"
        self.penalty_file = path / "penalty.csv"
        self.architectures_file = path / "architectures.json"
        self.model_file = path / "model.onnx"
        self.events_folder = path / EVENTS
        self.checkpoints_folder = path / CHECKPOINTS

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunFolder) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that a run writes, and tl-export unless told otherwise; config.toml is not among them."""
        exported = (self.model_file.with_suffix(suffix) for suffix in (".onnx", ".parity.json", ".md"))
        return (
            self.metrics_file, self.spec_file, self.weights_file, self.familiarity_file, self.history_file,
            self.predictions_file, self.report_file, self.preflight_file, self.prior_file, self.penalty_file,
            self.architectures_file, self.suspects_file, self.fixes_file, *exported, *map(self.figure_file, FIGURES),
        )  # fmt: skip

    @property
    def folders(self) -> tuple[Path, ...]:
        """All folders that a run writes."""
        return (self.images_folder, self.checkpoints_folder, self.events_folder)

    def figure_file(self, name: str) -> Path:
        """Where a figure, one of `FIGURES`, is written."""
        return self.path / f"{name}.png"

    def save_model(self, model: nn.Module, spec: ModelSpec) -> None:
        """Write the weights and what they mean.

        Raises:
            OutputPathError: a file cannot be written.

        """
        tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        write_bytes(self.weights_file, safetensors.torch.save(tensors))
        write_text(self.spec_file, spec.to_json() + "\n")

    def save_history(self, history: Iterable[Epoch]) -> None:
        """Write history.csv, a row per epoch.

        Raises:
            OutputPathError: the file cannot be written.

        """
        header = [field.name for field in dataclasses.fields(Epoch)]
        write_csv(self.history_file, header, map(dataclasses.astuple, history))

    def save_metrics(self, metrics: Mapping[str, object]) -> None:
        """Write metrics.json, as the sign of a finished run.

        Raises:
            OutputPathError: the file cannot be written.

        """
        write_text(self.metrics_file, json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def config(self) -> TrainConfig:
        """The configuration of the run.

        Raises:
            ConfigError: the file is missing or is not a configuration.

        """
        return TrainConfig.load(self.config_file)

    def spec(self) -> ModelSpec:
        """What the model of the finished run says of itself.

        Raises:
            RunError: not a run, not finished, or damaged.

        """
        self.check_finished()
        with self._damage_explained():
            return ModelSpec.from_json(read_text(self.spec_file))

    def weights(self) -> dict[str, torch.Tensor]:
        """The tensors of the finished run's model, by name.

        Raises:
            RunError: not a run, not finished, or damaged.

        """
        self.check_finished()
        with self._damage_explained():
            return dict(read_weights(self.weights_file))

    def load_model(self) -> tuple[nn.Module, ModelSpec, Architecture]:
        """The trained network of the finished run, in evaluation mode, with its spec and architecture.

        Raises:
            RunError: not a run, not finished, or files that do not belong together.

        """
        spec, tensors = self.spec(), self.weights()
        with self._damage_explained():
            architecture = find_architecture(spec.architecture).for_size(spec.preprocess.size)
            model = architecture.build()
            try:
                put_new_head(model, architecture, len(spec.labels), head_kind_of(tensors, architecture))
                model.load_state_dict(tensors)
            except RuntimeError as error:  # torch's own for names or shapes that do not match
                raise RunError(
                    f"{self}: {self.weights_file.name} does not fit {self.spec_file.name}: {_detail(error)}; "
                    "train again with tl-train"
                ) from error
        return model.eval(), spec, architecture

    def familiarity(self) -> Familiarity | None:
        """What tells how familiar an image is; None where the run had too few images for it.

        Raises:
            RunError: not a run, not finished, or damaged.

        """
        if self.spec().familiarity is None:
            return None
        try:
            return Familiarity.from_bytes(read_bytes(self.familiarity_file, _MAX_FAMILIARITY_BYTES))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.familiarity_file}: {first_line(error)}; train again with tl-train") from error

    def metrics(self) -> Mapping[str, Mapping[str, Any]]:
        """What was measured, as `held_out`, `calibration` and `run`.

        Raises:
            RunError: no such file, or not what tl-train writes.

        """
        path = self.metrics_file
        try:
            found = json.loads(read_text(path))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path}: cannot be read: {first_line(error)}; train again with tl-train") from error
        if not isinstance(found, dict) or not all(isinstance(found.get(part), dict) for part in _METRICS_PARTS):
            raise RunError(
                f"{path}: expected {', '.join(_METRICS_PARTS)}; made by another version, train again with tl-train"
            )
        return found

    def predictions(self) -> list[Prediction]:
        """The answers on the held-out images, in the order of the file; none when it lists none.

        Raises:
            RunError: the run held no images back, or its list is damaged; the remedy is left to the caller.

        """
        return read_predictions(self.predictions_file)

    def label_predictions(self) -> list[LabelPrediction]:
        """The same of a run whose images may have several labels.

        Raises:
            RunError: as for `predictions`.

        """
        return read_label_predictions(self.predictions_file)

    def held_out_files(self) -> list[Path]:
        """The image files that the run reported on.

        Raises:
            RunError: the run held no images back, or its list is damaged.

        """
        try:
            return read_paths(self.predictions_file)
        except RunError as error:
            raise RunError(f"{error}; give images to verify on with --images") from error

    def is_finished(self) -> bool:
        """Whether a run was carried through here."""
        return self.metrics_file.is_file()

    def check_finished(self) -> None:
        """Check that tl-train finished a run here.

        Raises:
            RunError: no such folder, or one that lacks a file of a finished run.

        """
        if not self.path.is_dir():
            raise RunError(f"{self}: no such folder; expected one that tl-train wrote")
        for file in (self.config_file, self.spec_file, self.weights_file, self.metrics_file):
            if not file.is_file():
                raise RunError(f"{self}: {file.name} is missing; expected a finished run of tl-train")

    def history(self) -> list[Epoch]:
        """The epochs of a finished run.

        Raises:
            RunError: history.csv is missing or damaged.

        """
        try:
            return [Epoch.from_row(row) for row in read_csv(self.history_file)]
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise RunError(f"{self.history_file}: cannot be read: {first_line(error)}; train again") from error

    def kept_history(self) -> History:
        """The epochs of a finished run, and whose weights it kept.

        Raises:
            RunError: history.csv or metrics.json is missing or damaged.

        """
        epochs, kept = self.history(), self.metrics()["run"].get("kept_epoch")
        if type(kept) is not int or not 0 <= kept <= len(epochs):
            raise RunError(
                f"{self.metrics_file}: kept_epoch: found {kept!r}, expected one of the {len(epochs)} epochs in "
                f"{self.history_file.name}, or 0; train again"
            )
        return History(epochs, kept)

    @contextlib.contextmanager
    def _damage_explained(self) -> Iterator[None]:
        try:
            yield
        except (ModelFileError, WeightsError, OSError, UnicodeDecodeError) as error:
            raise RunError(f"{self}: {error}; train again with tl-train") from error


def _detail(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return lines[1] if len(lines) > 1 else lines[0]
