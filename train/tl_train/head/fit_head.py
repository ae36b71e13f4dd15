"""Fitting the head on the features of the frozen backbone: at once with a penalty, or by steps of Adam."""

import copy
import dataclasses
import time
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tl_train.config import TrainConfig
from tl_train.config.groups import StepsConfig
from tl_train.evaluation.calibration import MIN_IMAGES
from tl_train.head.crossfit import cross_fitted_logits
from tl_train.head.features import CachedPart, Features, part_of
from tl_train.head.penalised import PenalisedHead, fit_penalised_head
from tl_train.head.steps import judge_head, train_head
from tl_train.history import Epoch
from tl_train.models.new_head import set_linear
from tl_train.progress import Progress
from tl_train.setup import Setup

# What training on cached features takes from the steps' configuration, or what does not concern a head alone.
_TAKEN = ("epochs", "batch_size", "lr", "weight_decay", "head_epochs", "finetune_lr")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class FittedHead:
    """A head fitted behind a frozen backbone.

    Attributes:
        epochs: a row per epoch; one row for the penalised fit.
        penalised: what the penalised fit chose; None for steps of Adam.
        cross_fitted: logits (N, C) of the training images, each from a head fitted without it, where the validation
            images are too few to calibrate on; else None.

    """

    epochs: list[Epoch]
    penalised: PenalisedHead | None = None
    cross_fitted: Features | None = None


class HeadFit(Protocol):
    """A way to fit a head in place on cached features."""

    def __call__(self, head: nn.Linear, train: CachedPart, val: CachedPart | None, progress: Progress) -> FittedHead:
        """Fit `head` on `train`; `val` is watched, where there is any."""


def features_suffice(config: TrainConfig) -> bool:
    """Whether features computed once give the head that training would: nothing changes the images or the steps."""
    if config.head.fit == "penalised":
        return True
    plain = dataclasses.replace(StepsConfig(), **{name: getattr(config.steps, name) for name in _TAKEN})
    return config.model.mode == "head" and config.head.kind == "replace" and config.steps == plain


def fit_head(setup: Setup, progress: Progress) -> FittedHead:
    """Fit the network's head in place on the features of the data set; the backbone stays as it is.

    Raises:
        DataError: too few images to choose the penalty.

    """
    config, dataset, network = setup.config, setup.dataset, setup.network
    network.prepare_for_training("head")
    train = part_of(dataset, dataset.train)
    val = part_of(dataset, dataset.val) if dataset.val else None
    fit = _head_fit(setup)
    cross_fitted = None
    if config.model.mode == "head" and len(dataset.val) < MIN_IMAGES <= len(dataset.train):
        progress.note("Fitting heads without a fifth of the training pictures each, to calibrate on those left out")
        cross_fitted = cross_fitted_logits(copy.deepcopy(network.head), train, fit, config.seed)
    return dataclasses.replace(fit(network.head, train, val, progress), cross_fitted=cross_fitted)


def _head_fit(setup: Setup) -> HeadFit:
    """The way that the configuration asks for."""
    if setup.config.head.fit == "sgd":
        return _Steps(setup.config)
    pretrained = setup.network.pretrained_head
    given = setup.prior.head(*pretrained) if setup.prior and pretrained else None
    return _Penalised(given, setup.config.seed)


@dataclasses.dataclass(frozen=True, slots=True)
class _Steps:
    """By steps of Adam."""

    config: TrainConfig

    def __call__(self, head: nn.Linear, train: CachedPart, val: CachedPart | None, progress: Progress) -> FittedHead:
        return FittedHead(train_head(head, train, val, self.config, progress))


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Penalised:
    """At once, with a penalty towards a given head, weight (C, D) and bias (C,), or towards zero."""

    given: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None
    seed: int

    def __call__(self, head: nn.Linear, train: CachedPart, val: CachedPart | None, progress: Progress) -> FittedHead:
        started = time.perf_counter()
        weight, bias = self.given or (None, None)
        found = fit_penalised_head(train.features, train.labels, weight, bias, self.seed, classes=head.out_features)
        set_linear(head, torch.from_numpy(found.weight), torch.from_numpy(found.bias))
        train_loss, train_accuracy = judge_head(head, train)
        val_loss, val_accuracy = judge_head(head, val) if val else (None, None)
        row = Epoch(1, train_loss, train_accuracy, val_loss, val_accuracy, time.perf_counter() - started)
        towards = "the head that the class names suggest" if self.given else "zero"
        progress.note(
            f"Head fitted with a penalty of {found.strength:.3g} towards {towards}, chosen by cross-validation"
        )
        progress.epoch(row)
        return FittedHead([row], found)
