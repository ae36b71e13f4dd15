"""The epochs of mode `partial`: training the last stages of a network on the activations of the frozen ones."""

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn import functional

from tl_train.config import TrainConfig
from tl_train.config.groups import STAGES_WARMUP
from tl_train.data.batches import Batch, batches, epoch_batches, seed_of
from tl_train.errors import TrainingError
from tl_train.evaluation.answers import Answers
from tl_train.history import Epoch
from tl_train.models.network import memory_layout
from tl_train.progress import Progress
from tl_train.setup import Identity
from tl_train.training.activations import Activations, Draw
from tl_train.training.checkpoints import check_optimizer, epochs_of, load_checkpoint, restoring, save_checkpoint
from tl_train.training.interpolation import AlphaTried, Tried, Weights, copy_weights
from tl_train.training.loop import Step
from tl_train.training.optim import learning_rate, make_optimizer, set_learning_rate

# Enough for what the stages can learn from as many images; measured in docs/datasets.md.
STEPS = 300
FEWEST_EPOCHS, MOST_EPOCHS = 2, 8

# So many activations at a time go through the stages on a CPU, whatever the batch size: memory is that of these, and a
# step hardly slower (16 images of Lite0 at 224 px instead of 64: 1.05 times the time, 0.5 GB less). Batch normalisation
# keeps its statistics, so the sum of their gradients is the gradient of the batch.
_CHUNK_VALUES = 16 * 112 * 14 * 14
_CPU_CHUNKS = (8, 64)  # at least and at most so many images
_GPU_CHUNK = 512

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LastStages:
    """The stages that are trained, and what they are trained on.

    Attributes:
        module: activations of one or more images -> logits (N, C).
        activations: of the frozen stages, for all training images.
        labels: of all training images.
        trained: indices of those that are trained on.
        mirrored: whether half of the images, drawn anew in every epoch, are mirrored.

    """

    module: nn.Module
    activations: Activations
    labels: Ints
    trained: Ints
    mirrored: bool = False

    def answers(self, images: Ints, *, mirrored: bool = False) -> Answers:
        """What the stages say of some of the images as they are, or mirrored; on the device where the stages are."""
        self.module.eval()
        parts = [[(index, mirrored) for index in part] for part in batches(images.tolist(), self._chunk())]
        with torch.inference_mode():
            logits = [
                self.module(self._tensor(values)).float().cpu().numpy() for values in self.activations.batches(parts)
            ]
        return Answers(np.concatenate(logits), self.labels[images])

    def batches(self, parts: Sequence[Sequence[Draw]]) -> Iterator[Batch]:
        """Activations in the module's memory format, with their labels."""
        for part, values in zip(parts, self.activations.batches(parts), strict=True):
            tensor = self._tensor(values)
            yield tensor, torch.from_numpy(self.labels[[index for index, _ in part]]).to(tensor.device)

    def draws(self, config: TrainConfig, epoch: int) -> list[list[Draw]]:
        """The images of each step of an epoch, and which of them are mirrored."""
        flips = np.random.default_rng(seed_of(config.seed, epoch, 3)).random(len(self.labels)) < 0.5
        parts = epoch_batches(len(self.trained), config, epoch)
        return [
            [(int(image), self.mirrored and bool(flips[image])) for image in self.trained[list(part)]] for part in parts
        ]

    def images_per_s(self, batch_size: int) -> float:
        """How many images training takes, measured on a step that changes nothing."""
        draws = [[(int(image), False) for image in self.trained[: min(batch_size, self._chunk())]]] * 3
        self.prepare()
        times_s = []
        for tensor, labels in self.batches(draws):
            started = time.perf_counter()
            torch.autograd.backward(functional.cross_entropy(self.module(tensor), labels))
            times_s.append(time.perf_counter() - started)
        self.module.zero_grad()
        return len(draws[0]) / min(times_s)

    def prepare(self) -> None:
        """As in training, but batch normalisation keeps its statistics: those of some thousand images are worse."""
        self.module.requires_grad_(True)
        self.module.train()
        for layer in self.module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # of any dimension; timm's derive from it
                layer.eval()

    def _chunk(self) -> int:
        """How many images go through the stages at a time."""
        return chunk_of(math.prod(self.activations.shape), next(self.module.parameters()).device)

    def _tensor(self, values: npt.NDArray[np.float32]) -> torch.Tensor:
        device = next(self.module.parameters()).device
        layout = memory_layout(self.module) if values.ndim == 4 else torch.contiguous_format
        return torch.from_numpy(values).to(device, memory_format=layout)


@dataclasses.dataclass(slots=True)
class _State:
    """What changes from epoch to epoch, with what the first began with; all of it is in a checkpoint."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    start: Weights
    epochs: int
    tried: Tried | None
    history: list[Epoch] = dataclasses.field(default_factory=list)

    def to_checkpoint(self) -> dict[str, Any]:
        tried = None if self.tried is None else [(one.alpha, one.losses.tolist(), one.accuracy) for one in self.tried]
        return {
            "model": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "start": dict(self.start),
            "epochs": self.epochs,
            "tried": tried,
            "history": [dataclasses.astuple(row) for row in self.history],
        }

    def restore(self, stored: dict[str, Any]) -> None:
        self.module.load_state_dict(stored["model"])
        self.optimizer.load_state_dict(stored["optimizer"])
        check_optimizer(self.optimizer)
        device = next(self.module.parameters()).device
        self.start = {name: tensor.to(device) for name, tensor in stored["start"].items()}
        self.epochs = int(stored["epochs"])
        self.history = epochs_of(stored)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class StagesTrained:
    """How a training went.

    Attributes:
        start: the weights before its first epoch.
        history: a row per epoch.
        images: in an epoch.

    """

    start: Weights
    history: list[Epoch] = dataclasses.field(default_factory=list)
    images: int = 0

    @property
    def images_per_s(self) -> float:
        """Images in a second of the epochs; 0 without any."""
        seconds = sum(row.seconds for row in self.history)
        return self.images * len(self.history) / seconds if seconds else 0.0


class StageTraining:
    """Trains from the first epoch, or from where a crash left it.

    Attributes:
        tried: what the images that were held back said after a first training, where a second was interrupted.

    """

    def __init__(
        self, fabric: Fabric, identity: Identity, out: Path, progress: Progress, class_weights: torch.Tensor | None
    ) -> None:
        """Look for a checkpoint.

        Args:
            fabric: device and precision.
            identity: of the run.
            out: its folder.
            progress: shows what goes on.
            class_weights: of the loss, float32 (C,), or None.

        Raises:
            RunError: the checkpoint belongs to other data, another configuration or other versions.

        """
        self._fabric, self._identity, self._out, self._progress = fabric, identity, out, progress
        self._class_weights = class_weights
        self._stored = load_checkpoint(out, identity, progress)
        self.tried: Tried | None = None
        if self._stored:
            with restoring(out):
                self.tried = _tried_in(self._stored)

    def run(self, stages: LastStages, epochs: int, tried: Tried | None = None, *, trial: bool = False) -> StagesTrained:
        """Train in place, writing a checkpoint after every epoch.

        Args:
            stages: to train.
            epochs: how many; where the configuration leaves it open, an interrupted training keeps its number.
            tried: None for a first training; for a second what came of the first.
            trial: another training follows, whose epochs the user is shown.

        Raises:
            OutputPathError: a checkpoint cannot be written.
            TrainingError: the loss is no longer a finite number.

        """
        stages.prepare()
        module, optimizer = self._fabric.setup(
            stages.module, make_optimizer(stages.module, self._identity.config.steps)
        )
        state = _State(stages.module, optimizer, copy_weights(stages.module), epochs, tried)
        if self._stored and (tried is None) == (self.tried is None):
            with restoring(self._out):
                state.restore(self._stored)
            state.epochs = self._identity.config.steps.epochs or state.epochs  # which may be more now
            self._progress.note(f"Continuing after epoch {len(state.history)}")
        for row in () if trial else state.history:
            self._progress.epoch(row)
        step = Step(self._fabric, module, optimizer, None, self._class_weights)
        while len(state.history) < state.epochs:
            label = "Trial epoch" if trial else "Epoch"
            row = self._epoch(stages, step, len(state.history) + 1, state.epochs, label)
            state.history.append(row)
            if not trial:
                self._progress.epoch(row)
            number = row.epoch if tried is None else state.epochs + row.epoch  # the newest has the highest
            save_checkpoint(self._out, number, self._identity, state.to_checkpoint())
        return StagesTrained(state.start, state.history, len(stages.trained))

    def _epoch(self, stages: LastStages, step: Step, number: int, epochs: int, label: str) -> Epoch:
        started = time.perf_counter()
        stages.prepare()
        config = _with_epochs(self._identity.config, epochs)
        draws = stages.draws(config, number)
        torch.manual_seed(seed_of(config.seed, number, 1))  # of dropout: the same numbers after a resume
        stream = self._progress.steps(stages.batches(draws), f"{label} {number}/{epochs}", len(draws))
        loss_sum, correct = 0.0, 0
        for place, (values, labels) in enumerate(stream):
            done = number - 1 + place / len(draws)
            set_learning_rate(step.optimizer, learning_rate(config.steps, done, gradual=False))
            loss, right = _take_step(step, values, labels, config.model.label_smoothing)
            loss_sum += loss * len(labels)
            correct += right
        loss, accuracy = loss_sum / len(stages.trained), correct / len(stages.trained)
        if not math.isfinite(loss):
            raise TrainingError(
                f"epoch {number}: the loss is {loss}, training has diverged; lower --lr ({config.steps.lr:g})"
            )
        return Epoch(number, loss, accuracy, None, None, time.perf_counter() - started)


def chunk_of(values: int, device: torch.device) -> int:
    """How many images of so many activations go through the stages at a time."""
    fewest, most = _CPU_CHUNKS
    return min(max(_CHUNK_VALUES // values, fewest), most) if device.type == "cpu" else _GPU_CHUNK


def _tried_in(stored: dict[str, Any]) -> Tried | None:
    if not stored["tried"]:
        return None
    return tuple(
        AlphaTried(float(alpha), np.array(losses, np.float64), float(right)) for alpha, losses, right in stored["tried"]
    )


def epochs_that_pay(images: int, batch_size: int) -> int:
    """How many epochs on so many images; more of them gain nothing."""
    return min(max(round(STEPS * batch_size / images), FEWEST_EPOCHS), MOST_EPOCHS)


def _take_step(step: Step, values: torch.Tensor, labels: torch.Tensor, smoothing: float) -> tuple[float, int]:
    """One step of the optimizer; returns the mean loss and how many answers were right."""
    weights = step.class_weights
    total = len(labels) if weights is None else float(weights[labels].sum())
    loss_sum, correct = 0.0, 0
    size = chunk_of(values[0].numel(), values.device)
    for start in range(0, len(labels), size):
        logits, truth = step.module(values[start : start + size]), labels[start : start + size]
        loss = functional.cross_entropy(logits, truth, weights, reduction="sum", label_smoothing=smoothing) / total
        step.fabric.backward(loss)
        loss_sum += loss.item()
        correct += int((logits.argmax(dim=1) == truth).sum())
    step.optimizer.step()
    step.optimizer.zero_grad()
    return loss_sum, correct


def _with_epochs(config: TrainConfig, epochs: int) -> TrainConfig:
    """The configuration with its number of epochs known, and the warm-up of one cycle where it names none."""
    warmup = config.steps.warmup_epochs or STAGES_WARMUP * epochs
    return dataclasses.replace(config, steps=dataclasses.replace(config.steps, epochs=epochs, warmup_epochs=warmup))
