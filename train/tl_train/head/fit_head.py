"""Fitting the head while the backbone is frozen: features once, then steps of Adam or the penalised fit."""

import dataclasses
import time

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import nn

from tl_train.config import TrainConfig
from tl_train.data.dataset import Dataset
from tl_train.evaluation.calibration import MIN_PICTURES
from tl_train.head.crossfit import cross_fitted_logits
from tl_train.head.features import CachedPart, Features, cached_part, fit_head, judge_head
from tl_train.head.penalised import PenalisedHead, fit_penalised_head
from tl_train.history import Epoch
from tl_train.models.network import Architecture, prepare_for_training, pretrained_head
from tl_train.preprocess.graph import Preprocessor
from tl_train.prior.prior import Prior
from tl_train.progress import Progress

GivenHead = tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]  # weight (C, D) and bias (C,) to be drawn to


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class FrozenFit:
    """A head fitted behind a frozen backbone.

    Attributes:
        history: a row per epoch; one row for the penalised fit.
        penalised: what the penalised fit chose; None for steps of Adam.
        cross_fitted: logits (N, C) of the training pictures, each from a head fitted without it, where the validation
            pictures are too few to calibrate on; else None.

    """

    history: list[Epoch]
    penalised: PenalisedHead | None = None
    cross_fitted: Features | None = None


def fit_frozen(
    model: nn.Module,
    architecture: Architecture,
    dataset: Dataset,
    preprocessor: Preprocessor,
    config: TrainConfig,
    prior: Prior | None,
    progress: Progress,
) -> FrozenFit:
    """Fit the head of `model` in place as `config.head_fit` says; the backbone stays as it is.

    Args:
        model: with its new head.
        architecture: of the model.
        dataset: its training pictures are fitted on, its validation pictures watched.
        preprocessor: makes the network's input.
        config: the choices of the run.
        prior: whose head the penalised fit is drawn to; None for zero.
        progress: shows what goes on.

    Raises:
        DataError: too few pictures to choose the penalty.
        ConfigError: the prior does not fit the weights.

    """
    prepare_for_training(model, architecture, "head")
    model.to(Fabric(accelerator="auto", devices=1).device)
    started = time.perf_counter()
    train = cached_part(model, architecture, dataset.train, preprocessor, progress)
    val = cached_part(model, architecture, dataset.val, preprocessor, progress) if dataset.val else None
    model.to("cpu")
    progress.note(
        f"Features of {len(dataset.train) + len(dataset.val)} pictures: {time.perf_counter() - started:.1f} s"
    )
    head = model.get_submodule(architecture.head)
    given = prior.head(*pretrained_head(architecture, config.weights)) if prior else None
    cross_fitted = None
    if config.mode == "head" and len(dataset.val) < MIN_PICTURES <= len(dataset.train):
        progress.note("Fitting heads without a fifth of the training pictures each, to calibrate on those left out")
        cross_fitted = cross_fitted_logits(
            head, train, lambda copy, part: _fit_silently(copy, part, config, given), config.seed
        )
    if config.head_fit == "sgd":
        return FrozenFit(fit_head(head, train, val, config, progress), None, cross_fitted)
    history, found = _fit_penalised(head, train, val, config, given, progress)
    return FrozenFit(history, found, cross_fitted)


def _fit_silently(head: nn.Module, part: CachedPart, config: TrainConfig, given: GivenHead | None) -> None:
    """Fit one of the heads of cross-fitting as the one that is kept, choice of the penalty included."""
    if config.head_fit == "sgd":
        fit_head(head, part, None, config, Progress())
    else:
        _put_penalised(head, part, config, given)


def _put_penalised(head: nn.Module, part: CachedPart, config: TrainConfig, given: GivenHead | None) -> PenalisedHead:
    assert isinstance(head, nn.Linear)
    weight, bias = given or (None, None)
    found = fit_penalised_head(part.features, part.labels, weight, bias, config.seed, classes=head.out_features)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(found.weight))
        head.bias.copy_(torch.from_numpy(found.bias))
    return found


def _fit_penalised(
    head: nn.Module,
    train: CachedPart,
    val: CachedPart | None,
    config: TrainConfig,
    given: GivenHead | None,
    progress: Progress,
) -> tuple[list[Epoch], PenalisedHead]:
    started = time.perf_counter()
    found = _put_penalised(head, train, config, given)
    train_loss, train_accuracy = judge_head(head, train)
    val_loss, val_accuracy = judge_head(head, val) if val else (None, None)
    row = Epoch(1, train_loss, train_accuracy, val_loss, val_accuracy, time.perf_counter() - started)
    towards = "the head that the class names suggest" if given else "zero"
    progress.note(f"Head fitted with a penalty of {found.strength:.3g} towards {towards}, chosen by cross-validation")
    progress.epoch(row)
    return [row], found
