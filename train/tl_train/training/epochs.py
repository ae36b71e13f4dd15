"""`fit`: the epochs of a training run, from the first (or where a crash left it) to the weights that are kept."""

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel

from tl_train.config import TrainConfig
from tl_train.data.batches import batches
from tl_train.data.dataset import Dataset
from tl_train.data.samples import Sample
from tl_train.errors import TrainingError
from tl_train.history import Epoch
from tl_train.models.network import Architecture, Phase, prepare_for_training
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress
from tl_train.training.augment import make_augmentation
from tl_train.training.checkpoints import Identity, load_checkpoint, save_checkpoint
from tl_train.training.loop import Change, evaluate, load_batches, train_one_epoch
from tl_train.training.optim import class_weights, make_average, make_optimizer


@dataclasses.dataclass(frozen=True, slots=True)
class Fit:
    """How the training went; the model holds the weights that were kept.

    Attributes:
        history: a row per epoch.
        kept_epoch: whose weights were kept, counted from 1: the last, or the best with early stopping.

    """

    history: list[Epoch]
    kept_epoch: int


@dataclasses.dataclass(slots=True)
class _State:
    """What changes from epoch to epoch, all of it in a checkpoint.

    `best` is the lowest validation loss so far with its epoch and weights; kept only with early stopping.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    history: list[Epoch]
    best: tuple[float, int, dict[str, torch.Tensor]] | None = None

    @property
    def judged(self) -> nn.Module:
        """The weights that count: the moving average where there is one."""
        return self.model if self.average is None else self.average.module

    def to_checkpoint(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "history": [dataclasses.astuple(row) for row in self.history],
            "best": self.best,
        }

    def restore(self, stored: dict[str, Any]) -> None:
        self.model.load_state_dict(stored["model"])
        self.optimizer.load_state_dict(stored["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(stored["average"])
        self.history = [Epoch(*row) for row in stored["history"]]
        self.best = stored["best"]


def fit(
    fabric: Fabric,
    model: nn.Module,
    architecture: Architecture,
    dataset: Dataset,
    preprocessor: Preprocessor,
    identity: Identity,
    out: Path,
    progress: Progress,
) -> Fit:
    """Train `model` in place, writing a checkpoint after every epoch.

    Args:
        fabric: device, precision, processes; already launched.
        model: what to train; on the CPU again afterwards.
        architecture: where its head is.
        dataset: trains on `train`, watches `val`, never sees `test`.
        preprocessor: makes the network's input.
        identity: the run; continued from its checkpoint in `out` when there is one.
        out: the run's folder.
        progress: how to show what goes on.

    Raises:
        RunError: the checkpoint in `out` belongs to other data, another configuration or other versions.
        TrainingError: the loss is no longer a finite number.
        OutputPathError: a checkpoint cannot be written.

    """
    config = identity.config
    model.to(fabric.device)
    optimizer = fabric.setup_optimizers(make_optimizer(model, config))
    assert isinstance(optimizer, torch.optim.Optimizer)
    state = _State(model, optimizer, make_average(model, config), [])
    if stored := load_checkpoint(out, identity, progress):
        state.restore(stored)
        progress.note(f"Continuing after epoch {len(state.history)}")
    weights = class_weights(config, dataset.train, len(dataset.labels))
    weights = None if weights is None else weights.to(fabric.device)
    for row in state.history:
        progress.epoch(row)
    wrapped, wrapped_for = None, None
    while len(state.history) < config.epochs and not _stopped(state, config):
        number = len(state.history) + 1
        started = time.perf_counter()
        phase: Phase = "head" if config.mode == "gradual" and number <= config.head_epochs else "all"
        prepare_for_training(model, architecture, config.mode, phase)
        if wrapped is None or phase != wrapped_for:  # the other processes must know which parameters learn
            wrapped, wrapped_for = fabric.setup_module(model), phase
        train, val = _epoch_parts(dataset, config, number)
        parts = epoch_batches(len(train), config, number)
        own = [part[fabric.global_rank :: fabric.world_size] for part in parts]
        # Dropout and the like: each epoch and process its own numbers, the same ones after a resume.
        torch.manual_seed(_seed(config.seed, number, 1 + fabric.global_rank))
        stream = progress.steps(
            load_batches(train, preprocessor, own, fabric.device, _augmentation(config, number)),
            f"Epoch {number}/{config.epochs}",
            len(own),
        )
        schedule = [number - 1 + step / len(own) for step in range(len(own))]
        loss, accuracy = train_one_epoch(
            fabric, wrapped, state.optimizer, stream, config, schedule, weights, state.average
        )
        if not math.isfinite(loss):
            raise TrainingError(
                f"epoch {number}: the loss is {loss}, training has diverged; lower --lr ({config.lr:g})"
            )
        val_loss, val_accuracy = evaluate(state.judged, val, preprocessor) if val else (None, None)
        row = Epoch(number, loss, accuracy, val_loss, val_accuracy, time.perf_counter() - started)
        state.history.append(row)
        _remember_best(state, config)
        progress.epoch(row)
        if fabric.global_rank == 0:
            save_checkpoint(out, number, identity, state.to_checkpoint())
    return _finish(state)


def _epoch_parts(dataset: Dataset, config: TrainConfig, number: int) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """The pictures to train on and to validate with in this epoch."""
    if not config.redraw_val:
        return dataset.train, dataset.val
    pool = [*dataset.train, *dataset.val]
    order = np.random.default_rng(_seed(config.seed, number, 0, 1)).permutation(len(pool))
    held_back = set(order[: max(1, round(config.val_split * len(pool)))].tolist())
    kept = [sample for i, sample in enumerate(pool) if i not in held_back]
    return kept, [pool[i] for i in sorted(held_back)]


def epoch_batches(pictures: int, config: TrainConfig, number: int) -> list[Sequence[int]]:
    """Shuffled indices of each step, for all processes together."""
    order: list[int] = np.random.default_rng(_seed(config.seed, number, 0)).permutation(pictures).tolist()
    return list(batches(order, config.batch_size, smallest=2 * config.devices))


def _augmentation(config: TrainConfig, number: int) -> Change | None:
    """The random changes of this epoch: of each picture by its own seed, so threads and resuming change nothing."""
    augmentation = make_augmentation(config.augment)
    if augmentation is None:
        return None
    return lambda pixels, index: augmentation(pixels, _seed(config.seed, number, 2, index))


def _seed(*parts: int) -> int:
    """One seed from several numbers, far from that of neighbouring numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def _remember_best(state: _State, config: TrainConfig) -> None:
    val_loss = state.history[-1].val_loss
    if config.patience is None or val_loss is None:
        return
    if state.best is None or val_loss < state.best[0]:
        weights = {name: tensor.cpu().clone() for name, tensor in state.judged.state_dict().items()}
        state.best = (val_loss, len(state.history), weights)


def _stopped(state: _State, config: TrainConfig) -> bool:
    """Whether early stopping ends the run."""
    if config.patience is None or state.best is None:
        return False
    return len(state.history) - state.best[1] >= config.patience


def _finish(state: _State) -> Fit:
    """Put the weights that are kept into the model."""
    kept_epoch = len(state.history)
    if state.best is not None:
        _, kept_epoch, weights = state.best
        state.model.load_state_dict(weights)
    elif state.average is not None:
        state.model.load_state_dict(state.average.module.state_dict())
    state.model.cpu()
    return Fit(state.history, kept_epoch)
