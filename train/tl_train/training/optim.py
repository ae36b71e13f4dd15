"""Optimizer, learning-rate schedule, class weights, moving average of the weights."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tl_train.config.choices import ClassWeights
from tl_train.config.steps import StepsConfig
from tl_train.data.samples import Sample, labels_of


def make_optimizer(module: nn.Module, steps: StepsConfig) -> torch.optim.Optimizer:
    """Adam or AdamW over all parameters; those that are frozen have no gradient and are passed over.

    AdamW decays weights of two and more axes only: decaying biases and normalisation hurts and helps nothing.
    """
    if steps.optimizer == "adam":
        return torch.optim.Adam(module.parameters(), lr=steps.lr)
    decayed = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in module.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": steps.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=steps.lr)


def learning_rate(steps: StepsConfig, progress: float, *, gradual: bool) -> float:
    """The rate at a point of the training; a function of that point alone, so there is no state to resume.

    Args:
        steps: rate, schedule and warm-up.
        progress: epochs done, as a fraction: 2.5 is the middle of the third epoch.
        gradual: whether there are two phases, the head alone and then all parameters, each with its own schedule.

    """
    peak, start, end = steps.lr, 0.0, float(steps.epochs)
    if gradual:
        if progress < steps.head_epochs:
            end = float(steps.head_epochs)
        else:
            peak, start = steps.finetune_lr or steps.lr / 10, float(steps.head_epochs)
    done, length = progress - start, end - start
    warmup = min(steps.warmup_epochs, length / 2)
    if done < warmup:
        return peak * max(done, 0.01 * warmup) / warmup
    if steps.schedule == "constant":
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / (length - warmup))))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def class_weights(
    wanted: ClassWeights, samples: Sequence[Sample], classes: int, device: torch.device | str = "cpu"
) -> torch.Tensor | None:
    """Weights of the loss: float32 (C,), N / (C * count), so that each class counts the same; None when not asked for.

    Source: scikit-learn's `compute_class_weight("balanced")`.
    """
    if wanted == "none":
        return None
    counts = torch.bincount(torch.from_numpy(labels_of(samples)), minlength=classes)
    return (len(samples) / (classes * counts.clamp(min=1).float())).to(device)


def make_average(module: nn.Module, decay: float) -> AveragedModel | None:
    """The moving average of the weights and of batch-norm statistics; None for a decay of 0."""
    if decay == 0:
        return None
    update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(module, multi_avg_fn=update, use_buffers=True)
