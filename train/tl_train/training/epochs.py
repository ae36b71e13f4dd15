"""`train_epochs`: a training run from its first epoch (or where a crash left it) to the weights that are kept."""

import copy
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
from tl_train.config.steps import StepsConfig
from tl_train.data.batches import KEPT_BYTES, KeptImages, Load, epoch_batches, load_batches, seed_of
from tl_train.data.dataset import Dataset
from tl_train.data.samples import Sample
from tl_train.history import Epoch, History
from tl_train.models.network import Phase
from tl_train.models.weight_files import Weights
from tl_train.progress import Progress
from tl_train.setup import SharedSetup
from tl_train.training.augment import make_augmentation
from tl_train.training.checkpoints import check_optimizer, epochs_of, load_checkpoint, restoring, save_checkpoint
from tl_train.training.loop import Step, train_one_epoch
from tl_train.training.losses import check_finite
from tl_train.training.optim import class_weights, make_average, make_optimizer
from tl_train.training.predict import evaluate
from tl_train.training.processes import processes_here, shared


@dataclasses.dataclass(slots=True)
class _State:
    """What changes from epoch to epoch, all of it in a checkpoint.

    `best` is the lowest validation loss so far with its epoch and weights; kept only with early stopping. `begun_after`
    are the epochs of the finished run that this one goes on from; patience counts from there.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    history: list[Epoch]
    best: tuple[float, int, dict[str, torch.Tensor]] | None = None
    begun_after: int = 0

    @property
    def judged(self) -> nn.Module:
        """The weights that count: the moving average where there is one."""
        return self.module if self.average is None else self.average.module

    def to_checkpoint(self) -> dict[str, Any]:
        return {
            "model": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "history": [dataclasses.astuple(row) for row in self.history],
            "best": self.best,
            "begun_after": self.begun_after,
        }

    def restore(self, stored: dict[str, Any]) -> None:
        self.module.load_state_dict(stored["model"])
        self.optimizer.load_state_dict(stored["optimizer"])
        check_optimizer(self.optimizer)
        if self.average is not None:
            self.average.load_state_dict(stored["average"])
        self.history = epochs_of(stored)
        self.best = None
        if stored["best"] is not None:
            loss, epoch, weights = stored["best"]
            self.best = float(loss), int(epoch), dict(weights)
        self.begun_after = int(stored.get("begun_after", 0))

    def remember_best(self, patience: int | None) -> None:
        """Keep the weights of the epoch just done, if early stopping is on and it is the best so far."""
        val_loss = self.history[-1].val_loss
        if patience is None or val_loss is None:
            return
        val_loss = math.inf if math.isnan(val_loss) else val_loss  # no number is less than NaN
        if self.best is None or val_loss < self.best[0]:
            weights = {name: tensor.cpu().clone() for name, tensor in self.judged.state_dict().items()}
            self.best = (val_loss, len(self.history), weights)


def train_epochs(
    fabric: Fabric, setup: SharedSetup, out: Path, progress: Progress, layout: torch.memory_format = torch.channels_last
) -> History:
    """Train the network in place, writing a checkpoint after every epoch.

    Args:
        fabric: device, precision, processes; already launched.
        setup: the run; trains on `train`, watches `val`, never sees `test`. Its network is on the CPU afterwards.
        out: the run's folder, for the first process; continued from its checkpoint where there is one.
        progress: how to show what goes on.
        layout: of images and weights in memory.

    Raises:
        RunError: the checkpoint in `out` belongs to other data, another configuration or other versions.
        TrainingError: the loss is no longer a finite number.
        OutputPathError: a checkpoint cannot be written.

    """
    config = setup.config
    setup.network.module.to(memory_format=layout)
    state = _first_state(fabric, setup, config.steps)
    is_first = fabric.global_rank == 0
    if stored := shared(load_checkpoint(out, setup.identity, progress) if is_first else None):
        with restoring(out):
            state.restore(stored)
        progress.note(f"Continuing after epoch {len(state.history)}")
    for row in state.history:
        progress.epoch(row)
    course = _Course(fabric, setup, state, progress, layout)
    while len(state.history) < config.steps.epochs and not _stopped(state, config.steps.patience):
        row = course.next_epoch()
        state.history.append(row)
        state.remember_best(config.steps.patience)
        progress.epoch(row)
        if is_first:
            save_checkpoint(out, row.epoch, setup.identity, state.to_checkpoint())
    return _finish(state)


def checkpoint_finished(setup: SharedSetup, weights: Weights, history: History, out: Path) -> None:
    """Write a checkpoint from which a finished run goes on: its weights, with an optimizer that starts anew.

    The network of the setup stays as it is: the head is fitted on it once more, and what is trained begins there. With
    early stopping, a later epoch is kept only if it is better than the one that was.

    Raises:
        OutputPathError: the checkpoint cannot be written.

    """
    module, steps = copy.deepcopy(setup.network.module), setup.config.steps
    module.load_state_dict(dict(weights))
    done = len(history.epochs)
    state = _State(module, make_optimizer(module, steps), make_average(module, steps.ema), history.epochs)
    state.begun_after = done
    kept_loss = history.epochs[history.kept_epoch - 1].val_loss
    if steps.patience is not None and kept_loss is not None:
        state.best = kept_loss, history.kept_epoch, dict(weights)
    save_checkpoint(out, done, setup.identity, state.to_checkpoint())


def _first_state(fabric: Fabric, setup: SharedSetup, steps: StepsConfig) -> _State:
    module = setup.network.module.to(fabric.device)
    optimizer = fabric.setup_optimizers(make_optimizer(module, steps))
    assert isinstance(optimizer, torch.optim.Optimizer)
    return _State(module, optimizer, make_average(module, steps.ema), [])


class _Course:
    """Goes through the epochs; holds what stays the same from one to the next."""

    def __init__(
        self, fabric: Fabric, setup: SharedSetup, state: _State, progress: Progress, layout: torch.memory_format
    ) -> None:
        self._fabric, self._setup, self._state, self._progress = fabric, setup, state, progress
        self._train_images, self._val_images = (KeptImages(KEPT_BYTES // processes_here()) for _ in range(2))
        dataset = setup.dataset
        wanted = setup.config.model.class_weights
        self._class_weights = class_weights(wanted, dataset.train, len(dataset.labels), fabric.device)
        self._layout = layout
        self._wrapped: nn.Module | None = None
        self._wrapped_for: Phase | None = None

    def next_epoch(self) -> Epoch:
        """Train and validate once."""
        config, preprocessor = self._setup.config, self._setup.preprocessor
        number, started = len(self._state.history) + 1, time.perf_counter()
        step = self._step(number)
        train, val = _epoch_parts(self._setup.dataset, config, number)
        fabric = self._fabric
        own = [part[fabric.global_rank :: fabric.world_size] for part in epoch_batches(len(train), config, number)]
        # Dropout and the like: each epoch and process its own numbers, the same ones after a resume.
        torch.manual_seed(seed_of(config.seed, number, 1 + fabric.global_rank))
        stream = self._progress.steps(
            load_batches(train, preprocessor, own, fabric.device, self._load(number), self._layout),
            f"Epoch {number}/{config.steps.epochs}",
            len(own),
        )
        schedule = [number - 1 + done / len(own) for done in range(len(own))]
        loss, accuracy = train_one_epoch(step, stream, config, schedule)
        check_finite(number, loss, config.steps.lr)
        val_loss, val_accuracy = None, None
        if val:
            val_loss, val_accuracy = evaluate(fabric, self._state.judged, val, preprocessor, self._val_images)
        return Epoch(number, loss, accuracy, val_loss, val_accuracy, time.perf_counter() - started)

    def _load(self, number: int) -> Load:
        """Gives the images of an epoch, each changed by a seed of its own: threads and resuming change nothing."""
        kept, config = self._train_images, self._setup.config
        augmentation = make_augmentation(config.steps.augment)
        if augmentation is None:
            return lambda sample, _: kept(sample)
        return lambda sample, index: augmentation(kept(sample), seed_of(config.seed, number, 2, index))

    def _step(self, number: int) -> Step:
        """The parts of a step; the network is wrapped anew where other parameters learn."""
        config, state = self._setup.config, self._state
        phase: Phase = "head" if config.model.mode == "gradual" and number <= config.steps.head_epochs else "all"
        self._setup.network.prepare_for_training(config.model.mode, phase)
        if self._wrapped is None or phase != self._wrapped_for:  # the other processes must know what learns
            self._wrapped, self._wrapped_for = self._fabric.setup_module(state.module), phase
        return Step(self._fabric, self._wrapped, state.optimizer, state.average, self._class_weights)


def _epoch_parts(dataset: Dataset, config: TrainConfig, number: int) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """The images to train on and to validate with in this epoch."""
    if not config.steps.redraw_val:
        return dataset.train, dataset.val
    pool = [*dataset.train, *dataset.val]
    order = np.random.default_rng(seed_of(config.seed, number, 0, 1)).permutation(len(pool))
    held_back = set(order[: max(1, round(config.data.val_share * len(pool)))].tolist())
    kept = [sample for i, sample in enumerate(pool) if i not in held_back]
    return kept, [pool[i] for i in sorted(held_back)]


def _stopped(state: _State, patience: int | None) -> bool:
    """Whether early stopping ends the run."""
    if patience is None or state.best is None:
        return False
    return len(state.history) - max(state.best[1], state.begun_after) >= patience


def _finish(state: _State) -> History:
    """Put the weights that are kept into the network."""
    kept_epoch = len(state.history)
    if state.best is not None:
        _, kept_epoch, weights = state.best
        state.module.load_state_dict(weights)
    elif state.average is not None:
        state.module.load_state_dict(state.average.module.state_dict())
    state.module.cpu()
    return History(state.history, kept_epoch)
