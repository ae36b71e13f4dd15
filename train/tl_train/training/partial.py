"""Training the last stages of a network on what the frozen ones say, which is computed once and kept on disk.

What makes it safe on few images: it starts from the penalised head, batch normalisation keeps the pretrained
statistics, and what is kept lies between start and end, as far from the start as images held back can justify.
"""

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from tl_train.data.batches import batches, seed_of
from tl_train.data.samples import Sample, labels_of
from tl_train.errors import TrainingError
from tl_train.history import Epoch, History
from tl_train.models.onnx_network import FrozenNetwork, open_onnx
from tl_train.models.stages import Cut, Stages
from tl_train.progress import Progress
from tl_train.setup import Setup
from tl_train.training.activation_store import ActivationCache, keep_activations
from tl_train.training.activations import Activations, Draw, FrozenStages
from tl_train.training.checkpoints import load_checkpoint, save_checkpoint
from tl_train.training.interpolation import AlphaTried, Weights, choose_alpha, copy_weights, interpolate, try_alphas
from tl_train.training.optim import class_weights, set_learning_rate

# How many steps pay, and for how many epochs at most: measured on clothing photos, digits, ants and bees.
_STEPS = 200
_MIN_EPOCHS, _MAX_EPOCHS = 2, 10
# The rate rises for this share of the steps, from a 25th of its peak. Source: Smith and Topin, "Super-convergence",
# 2019 (one cycle), with the values of torch's OneCycleLR.
_RISE = 0.3
_FIRST_RATE = 1 / 25

_EVAL_BATCH = 64
_MEASURED_STEPS = 3


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class StagesTrained:
    """What came of training the last stages; the network holds the weights that were kept.

    Attributes:
        history: a row per epoch; the validation figures are of the images that chose alpha.
        cut: where the network was cut.
        tried: each alpha with its figures; alpha 0 is the head alone. Empty without images to choose by.
        alpha: what was kept: 0 for the head alone, 1 for the end of the training.
        images_per_s: in the steps.

    """

    history: History
    cut: Cut
    tried: tuple[AlphaTried, ...]
    alpha: float
    images_per_s: float

    def at(self, alpha: float) -> tuple[float, float] | None:
        """Log-loss (nats) and accuracy of the images that chose, at an alpha; None where none chose."""
        return next(((one.log_loss, one.accuracy) for one in self.tried if one.alpha == alpha), None)


class OutOfTimeError(TrainingError):
    """There is no time left to train the last stages."""


def train_stages(setup: Setup, choosing: Sequence[Sample], out: Path, progress: Progress, deadline: float = math.inf
                 ) -> StagesTrained:  # fmt: skip
    """Train the last stages of the network in place, from the head that it has.

    Args:
        setup: the run; its training images are trained on.
        choosing: images that were held back, to choose alpha by; may be empty.
        out: the run's folder; continued from its checkpoint where there is one.
        progress: shows what goes on.
        deadline: of `time.monotonic()`; fewer epochs are trained where it asks for that.

    Raises:
        ConfigError: the network cannot be cut, or not there.
        OutOfTimeError: not one epoch fits before the deadline.
        OutputPathError: the disk has no room for the activations, or a checkpoint cannot be written.

    """
    config, network = setup.config, setup.network
    size, name = setup.preprocessor.spec.size, network.architecture.name
    stages = Stages(network.module, size, name)
    cut = stages.named(config.model.freeze_until) if config.model.freeze_until else stages.choose()
    trunk, rest = stages.split(cut)
    frozen = open_onnx(FrozenNetwork(trunk, f"{name} up to {cut.name}", size), progress)
    progress.note(f"Training what lies behind {cut.name}, {cut.share:.0%} of the work of {name}")
    train, held_back = setup.dataset.train, list(choosing)
    mirrored = config.steps.augment != "none"
    _check_time(FrozenStages(trunk=frozen, preprocessor=setup.preprocessor, samples=train), mirrored, deadline)
    sources = [FrozenStages(trunk=frozen, preprocessor=setup.preprocessor, samples=part) for part in (train, held_back)]
    caches = [ActivationCache(keep=not config.data.no_cache, mirrored=mirrors) for mirrors in (mirrored, False)]
    activations = [
        keep_activations(source, cache, progress)
        for source, cache in zip(sources, caches, strict=True)
        if source.samples
    ]
    try:
        course = _Course(setup, rest, activations, labels_of(held_back), progress)
        return course.run(cut, out, deadline)
    finally:
        for opened in activations:
            opened.close()


def _check_time(stages: FrozenStages, mirrored: bool, deadline: float) -> None:
    """Raise where computing the activations alone would take too long."""
    if math.isinf(deadline):
        return
    sample = list(range(min(16, len(stages.samples))))
    started = time.monotonic()
    for _ in stages.compute(iter([[(index, False)] for index in sample])):
        pass
    needed_s = (time.monotonic() - started) / len(sample) * len(stages.samples) * (2 if mirrored else 1)
    if time.monotonic() + needed_s >= deadline:
        raise OutOfTimeError(f"what the frozen stages say of all images would take about {needed_s / 60:.0f} minutes")


class _Course:
    """Goes through the epochs."""

    def __init__(self, setup: Setup, rest: nn.Module, activations: Sequence[Activations],
                 truth: npt.NDArray[np.int64], progress: Progress) -> None:  # fmt: skip
        self._config, self._progress, self._setup = setup.config, progress, setup
        self._rest = rest.to(memory_format=torch.channels_last)
        self._train, self._labels = activations[0], torch.from_numpy(labels_of(setup.dataset.train))
        self._held_back, self._truth = activations[1:], truth
        rest.requires_grad_(True)
        steps = setup.config.steps
        decayed = [parameter for parameter in rest.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in rest.parameters() if parameter.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": steps.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=steps.lr)
        self._class_weights = class_weights(
            setup.config.model.class_weights, setup.dataset.train, len(setup.dataset.labels)
        )
        self._rates: list[float] = []

    def run(self, cut: Cut, out: Path, deadline: float) -> StagesTrained:
        """All epochs, and the choice of alpha."""
        start: Weights = copy_weights(self._rest)
        history, epochs = list[Epoch](), 0
        if stored := load_checkpoint(out, self._setup.identity, self._progress):
            start, history, epochs = self._restore(stored)
            self._progress.note(f"Continuing after epoch {len(history)}")
        else:
            epochs = self._epochs_before(deadline)
        for row in history:
            self._progress.epoch(row)
        try:
            while len(history) < epochs:
                row = self._epoch(len(history) + 1, epochs)
                history.append(row)
                self._progress.epoch(row)
                state = {"rest": self._rest.state_dict(), "optimizer": self._optimizer.state_dict(), "start": start,
                         "history": [dataclasses.astuple(row) for row in history], "epochs": epochs}  # fmt: skip
                save_checkpoint(out, row.epoch, self._setup.identity, state)
        except KeyboardInterrupt:
            self._rest.load_state_dict(start)  # a whole network, for whoever goes on with it
            raise
        tried = try_alphas(self._rest, start, self._held_back_logits, self._truth) if self._held_back else ()
        alpha = choose_alpha(tried) if tried else 1.0
        interpolate(self._rest, start, copy_weights(self._rest), alpha)
        self._rest.eval()
        rate = sum(self._rates) / len(self._rates) if self._rates else 0.0
        return StagesTrained(History(history, len(history)), cut, tried, alpha, rate)

    def _restore(self, stored: dict[str, Any]) -> tuple[Weights, list[Epoch], int]:
        self._rest.load_state_dict(stored["rest"])
        self._optimizer.load_state_dict(stored["optimizer"])
        return stored["start"], [Epoch(*row) for row in stored["history"]], stored["epochs"]

    def _epochs_before(self, deadline: float) -> int:
        """How many epochs to train: as many as asked for or as pay, if there is the time."""
        images, batch = len(self._labels), self._config.steps.batch_size
        pay = min(_MAX_EPOCHS, max(_MIN_EPOCHS, round(_STEPS * batch / images)))
        wanted = self._config.steps.epochs or pay
        if math.isinf(deadline):
            return wanted
        parts = self._parts(1)[:_MEASURED_STEPS]
        started = time.monotonic()
        self._prepare()
        for loss, _ in self._losses(parts):
            torch.autograd.backward(loss)
        self._optimizer.zero_grad()
        epoch_s = (time.monotonic() - started) * images / sum(map(len, parts))
        fit = int((deadline - time.monotonic()) / epoch_s)
        if fit < 1:
            raise OutOfTimeError(f"an epoch would take about {epoch_s / 60:.1f} minutes")
        return min(wanted, fit)

    def _epoch(self, number: int, epochs: int) -> Epoch:
        started = time.perf_counter()
        parts = self._parts(number)
        torch.manual_seed(seed_of(self._config.seed, number, 1))  # of dropout, the same after a resume
        self._prepare()
        loss_sum = correct = 0.0
        steps = self._progress.steps(self._losses(parts), f"Epoch {number}/{epochs}", len(parts))
        for step, (loss, right) in enumerate(steps):
            progress = (number - 1 + step / len(parts)) / epochs
            set_learning_rate(self._optimizer, self._config.steps.lr * one_cycle(progress))
            torch.autograd.backward(loss)
            self._optimizer.step()
            self._optimizer.zero_grad()
            loss_sum += loss.item() * len(parts[step])
            correct += right
        images = len(self._labels)
        if not math.isfinite(loss_sum):
            raise TrainingError(f"epoch {number}: training has diverged; lower --lr ({self._config.steps.lr:g})")
        self._rates.append(images / (time.perf_counter() - started))
        val_loss, val_accuracy = self._judge()
        seconds = time.perf_counter() - started
        return Epoch(number, loss_sum / images, correct / images, val_loss, val_accuracy, seconds)

    def _prepare(self) -> None:
        """Learn, with the statistics of batch normalisation as pretrained: those of small batches would be noise."""
        self._rest.train()
        for layer in self._rest.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()

    def _parts(self, number: int) -> list[list[Draw]]:
        """The draws of each step of an epoch: each image once, mirrored half of the time where that is allowed."""
        config = self._config
        random = np.random.default_rng(seed_of(config.seed, number, 0))
        order = random.permutation(len(self._labels)).tolist()
        mirrored = random.random(len(order)) < (0.5 if config.steps.augment != "none" else 0.0)
        return [[(i, bool(mirrored[i])) for i in part] for part in batches(order, config.steps.batch_size)]

    def _losses(self, parts: Sequence[Sequence[Draw]]) -> Iterator[tuple[torch.Tensor, int]]:
        """The loss of each step, and how many of its images are right."""
        for part, rows in zip(parts, self._train.batches(parts), strict=True):
            labels = self._labels[[index for index, _ in part]]
            logits = self._rest(_tensor(rows))
            loss = functional.cross_entropy(
                logits, labels, self._class_weights, label_smoothing=self._config.model.label_smoothing
            )
            yield loss, int((logits.argmax(dim=1) == labels).sum())

    def _held_back_logits(self) -> npt.NDArray[np.float32]:
        self._rest.eval()
        parts = [[(index, False) for index in part] for part in batches(range(len(self._truth)), _EVAL_BATCH, 1)]
        with torch.inference_mode():
            stream = self._held_back[0].batches(parts)
            found = [
                self._rest(torch.from_numpy(rows).to(memory_format=torch.channels_last)).numpy() for rows in stream
            ]
        logits: npt.NDArray[np.float32] = np.concatenate(found)
        return logits

    def _judge(self) -> tuple[float | None, float | None]:
        if not self._held_back:
            return None, None
        logits, truth = torch.from_numpy(self._held_back_logits()), torch.from_numpy(self._truth)
        loss = functional.cross_entropy(logits, truth).item()
        return loss, float((logits.argmax(dim=1) == truth).double().mean())


def _tensor(rows: npt.NDArray[np.float32]) -> torch.Tensor:
    """Activations in the memory format in which convolutions are fastest; others have fewer axes."""
    tensor = torch.from_numpy(rows)
    return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def one_cycle(progress: float) -> float:
    """The learning rate as a share of its peak, at a point 0..1 of the training."""
    if progress < _RISE:
        return _FIRST_RATE + (1 - _FIRST_RATE) * 0.5 * (1 - math.cos(math.pi * progress / _RISE))
    return 0.5 * (1 + math.cos(math.pi * (progress - _RISE) / (1 - _RISE)))
