"""The steps of training, written out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from tl_train.config import TrainConfig
from tl_train.data.batches import Batch
from tl_train.training.optim import learning_rate, set_learning_rate

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # which takes seconds to import


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What every step works with.

    Attributes:
        fabric: device, precision and the other processes.
        module: as fabric set it up.
        optimizer: likewise.
        average: moving average to update after every step, or None.
        class_weights: of the loss, float32 (C,), or None.

    """

    fabric: Fabric
    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    class_weights: torch.Tensor | None


def train_one_epoch(
    step: Step, stream: Iterator[Batch], config: TrainConfig, schedule: Sequence[float]
) -> tuple[float, float]:
    """One pass over the batches.

    Args:
        step: what every step works with.
        stream: batches of this process.
        config: learning rate and label smoothing.
        schedule: for each step, the epochs done before it, as a fraction; decides the learning rate.

    Returns:
        Mean loss and accuracy over the images of all processes.

    """
    totals = torch.zeros(3, dtype=torch.float64)  # loss, correct, images
    smoothing, gradual = config.model.label_smoothing, config.model.mode == "gradual"
    for done, (images, labels) in zip(schedule, stream, strict=True):
        set_learning_rate(step.optimizer, learning_rate(config.steps, done, gradual=gradual))
        logits = step.module(images)
        loss = functional.cross_entropy(logits, labels, step.class_weights, label_smoothing=smoothing)
        step.fabric.backward(loss)
        step.optimizer.step()
        step.optimizer.zero_grad()
        if step.average is not None:
            step.average.update_parameters(step.module)
        correct = (logits.argmax(dim=1) == labels).sum().item()
        totals += torch.tensor([loss.item() * len(labels), correct, len(labels)], dtype=torch.float64)
    summed = step.fabric.all_reduce(totals, reduce_op="sum")
    assert isinstance(summed, torch.Tensor)
    loss_sum, correct_sum, count = summed.tolist()
    return loss_sum / count, correct_sum / count
