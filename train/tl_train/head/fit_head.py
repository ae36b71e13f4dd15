"""Fitting the head on the features of the frozen backbone: at once with a penalty, or by steps of Adam."""

import dataclasses
import time
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tl_train.config import TrainConfig
from tl_train.config.steps import StepsConfig
from tl_train.evaluation.calibration import MIN_IMAGES
from tl_train.head.crossfit import MAX_FOLDS, cross_fitted_logits
from tl_train.head.features import CachedPart, Features, part_of
from tl_train.head.label_heads import LabelHeads
from tl_train.head.penalised import PenalisedHead
from tl_train.head.problem import HeadProblem, head_loss, towards
from tl_train.head.steps import judge_head, train_head
from tl_train.history import Epoch
from tl_train.models.new_head import set_linear
from tl_train.models.starting_weights import WeightAndBias
from tl_train.progress import Progress
from tl_train.setup import Setup

# What training on cached features takes from the steps' configuration, or what does not concern a head alone.
_TAKEN = ("epochs", "batch_size", "lr", "weight_decay", "head_epochs", "finetune_lr")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class FittedHead:
    """A head fitted on a frozen backbone.

    Attributes:
        epochs: a row per epoch; one row for the penalised fit.
        penalised: what the penalised fit chose; None for steps of Adam.
        cross_fitted: logits (N, C) of the training images, each from a head fitted without it; None for steps of Adam
            where there are validation images enough to calibrate on.
        label_heads: what the fit of a head for each label chose; None where an image has one label.

    """

    epochs: list[Epoch]
    penalised: PenalisedHead | None = None
    cross_fitted: Features | None = None
    label_heads: LabelHeads | None = None


class HeadFit(Protocol):
    """A way to fit a head in place on cached features."""

    def __call__(self, head: nn.Linear, train: CachedPart, val: CachedPart | None, progress: Progress) -> FittedHead:
        """Fit `head` on `train`; `val` is monitored, where there is any."""


def features_suffice(config: TrainConfig) -> bool:
    """Whether features computed once give the head that training would: nothing changes the images or the steps."""
    if config.head.fit == "penalised":
        return True
    plain = dataclasses.replace(StepsConfig(), **{name: getattr(config.steps, name) for name in _TAKEN})
    plain_loss = config.model.class_weights == "none" and config.model.label_smoothing == 0
    return config.model.mode == "head" and config.head.kind == "replace" and config.steps == plain and plain_loss


def fit_head(setup: Setup, progress: Progress) -> FittedHead:
    """Fit the network's head in place on the features of the data set; the backbone stays as it is.

    Raises:
        DataError: too few images to choose the penalty.

    """
    dataset, network = setup.dataset, setup.network
    network.prepare_for_training("head")
    train = part_of(dataset, dataset.train)
    val = part_of(dataset, dataset.val) if dataset.val else None
    return _head_fit(setup)(network.head, train, val, progress)


def fit_head_on(setup: Setup, which: npt.NDArray[np.int64]) -> WeightAndBias:
    """The penalised head of some of the training images, by index; the network stays as it is."""
    part = part_of(setup.dataset, [setup.dataset.train[index] for index in which])
    found = _problem(setup).fit(part.features, part.labels)
    return found.weight, found.bias


def _head_fit(setup: Setup) -> HeadFit:
    """The way that the configuration asks for."""
    config, dataset = setup.config, setup.dataset
    if config.head.fit == "sgd":
        return _Steps(config, len(dataset.val) if dataset.test else 0)
    return _Penalised(_problem(setup))


def _problem(setup: Setup) -> HeadProblem:
    """What the penalised fit solves."""
    network, classes = setup.network, len(setup.dataset.labels)
    given = towards(setup.prior, network.pretrained_head, classes, network.head.in_features)
    return HeadProblem(given, head_loss(setup.config, setup.dataset), setup.config.seed)


@dataclasses.dataclass(frozen=True, slots=True)
class _Steps:
    """By steps of Adam; with so many validation images to spare, those that do not give the accuracy themselves."""

    config: TrainConfig
    spare_images: int

    def __call__(self, head: nn.Linear, train: CachedPart, val: CachedPart | None, progress: Progress) -> FittedHead:
        cross_fitted = None
        if self.spare_images < MIN_IMAGES <= len(train.labels):
            progress.note(f"Cross-fitting up to {MAX_FOLDS} heads for calibration")
            cross_fitted = cross_fitted_logits(
                head, train, lambda copy, part: train_head(copy, part, None, self.config, Progress()), self.config.seed
            )
        return FittedHead(train_head(head, train, val, self.config, progress), cross_fitted=cross_fitted)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Penalised:
    """At once, with a penalty towards a given head; zero where the class names say nothing."""

    problem: HeadProblem

    def __call__(self, head: nn.Linear, train: CachedPart, val: CachedPart | None, progress: Progress) -> FittedHead:
        started = time.perf_counter()
        with progress.counter("Fitting the head") as report:
            found = self.problem.fit(train.features, train.labels, report)
        set_linear(head, torch.from_numpy(found.weight), torch.from_numpy(found.bias))
        train_loss, train_accuracy = judge_head(head, train)
        val_loss, val_accuracy = judge_head(head, val) if val else (None, None)
        row = Epoch(1, train_loss, train_accuracy, val_loss, val_accuracy, time.perf_counter() - started)
        given = "the head that the class names suggest" if self.problem.towards.weight.any() else "zero"
        progress.note(f"Head fitted with a penalty of {found.strength:.3g} towards {given}, chosen by cross-validation")
        progress.epoch(row)
        return FittedHead([row], found, found.cross_fitted)
