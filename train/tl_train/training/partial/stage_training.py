"""The epochs of mode `partial`: training the last stages, from the first or from where a crash left them."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tl_train.config import TrainConfig
from tl_train.config.choices import STAGES_WARMUP
from tl_train.data.batches import seed_of
from tl_train.history import Epoch
from tl_train.models.weight_files import Weights
from tl_train.progress import Progress
from tl_train.setup import Identity
from tl_train.training.checkpoints import check_optimizer, epochs_of, load_checkpoint, restoring, save_checkpoint
from tl_train.training.interpolation import AlphasTried, AlphaTried, copy_weights
from tl_train.training.loop import Step
from tl_train.training.losses import check_finite
from tl_train.training.optim import learning_rate, make_optimizer, set_learning_rate
from tl_train.training.partial.last_stages import LastStages, chunk_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # which takes seconds to import

# Enough for what the stages can learn from as many images; measured in docs/datasets.md.
STEPS = 300
FEWEST_EPOCHS, MOST_EPOCHS = 2, 8


@dataclasses.dataclass(slots=True)
class _State:
    """What changes from epoch to epoch, with what the first began with; all of it is in a checkpoint."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    start: Weights
    epochs: int
    tried: AlphasTried | None
    history: list[Epoch] = dataclasses.field(default_factory=list)

    def to_checkpoint(self) -> dict[str, Any]:
        tried = None
        if self.tried is not None:
            tried = [(one.alpha, one.losses.tolist(), one.accuracy, torch.from_numpy(one.logits)) for one in self.tried]
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
        self.tried: AlphasTried | None = None
        if self._stored:
            with restoring(out):
                self.tried = _tried_in(self._stored)

    def run(
        self, stages: LastStages, epochs: int, tried: AlphasTried | None = None, *, trial: bool = False
    ) -> StagesTrained:
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
        check_finite(number, loss, config.steps.lr)
        return Epoch(number, loss, accuracy, None, None, time.perf_counter() - started)


def _tried_in(stored: dict[str, Any]) -> AlphasTried | None:
    if not stored["tried"]:
        return None
    return tuple(
        AlphaTried(float(alpha), np.array(losses, np.float64), float(right), logits.numpy())
        for alpha, losses, right, logits in stored["tried"]
    )


def epochs_that_pay(images: int, batch_size: int) -> int:
    """How many epochs on so many images; more of them gain nothing."""
    return min(max(round(STEPS * batch_size / images), FEWEST_EPOCHS), MOST_EPOCHS)


def _take_step(step: Step, values: torch.Tensor, labels: torch.Tensor, smoothing: float) -> tuple[float, int]:
    """One step of the optimizer; returns the mean loss and how many answers were right."""
    weights = step.class_weights
    total = len(labels) if weights is None else float(weights[labels].sum())
    loss_sum, correct = 0.0, 0
    chunks = math.ceil(len(labels) / chunk_of(values[0].numel(), values.device))
    for part, truth in zip(values.chunk(chunks), labels.chunk(chunks), strict=True):  # of about the same size
        logits = step.module(part)
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
