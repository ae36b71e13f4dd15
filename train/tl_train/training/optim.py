"""What moves the weights: optimizer, learning rate per step, class weights, moving average."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tl_train.config import TrainConfig
from tl_train.data.samples import Sample, labels_of


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam or AdamW over all parameters; those that are frozen have no gradient and are passed over.

    AdamW decays weights of two and more axes only: decaying biases and normalisation hurts and helps nothing.
    """
    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=config.lr)
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr)


def learning_rate(config: TrainConfig, progress: float) -> float:
    """The rate at a point of the training; a function of that point alone, so there is no state to resume.

    Args:
        config: rate, schedule, warm-up and, with mode `gradual`, the two phases, each with its own schedule.
        progress: epochs done, as a fraction: 2.5 is the middle of the third epoch.

    """
    peak, start, end = config.lr, 0.0, float(config.epochs)
    if config.mode == "gradual":
        if progress < config.head_epochs:
            end = float(config.head_epochs)
        else:
            peak, start = config.finetune_lr or config.lr / 10, float(config.head_epochs)
    done, length = progress - start, end - start
    warmup = min(config.warmup_epochs, length / 2)
    if done < warmup:
        return peak * max(done, 0.01 * warmup) / warmup
    if config.schedule == "constant":
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / (length - warmup))))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def class_weights(config: TrainConfig, samples: Sequence[Sample], classes: int) -> torch.Tensor | None:
    """Weights of the loss: float32 (C,), N / (C * count), so that each class counts the same; None when not asked for.

    Source: scikit-learn's `compute_class_weight("balanced")`.
    """
    if config.class_weights == "none":
        return None
    counts = torch.bincount(torch.from_numpy(labels_of(samples)), minlength=classes)
    return len(samples) / (classes * counts.clamp(min=1).float())


def make_average(model: nn.Module, config: TrainConfig) -> AveragedModel | None:
    """The moving average of the weights and of batch-norm statistics; None when not asked for."""
    if config.ema == 0:
        return None
    update = get_ema_multi_avg_fn(config.ema)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
