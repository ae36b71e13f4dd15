"""A head trained by steps of Adam on cached features."""

import time

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from tl_train.config import TrainConfig
from tl_train.data.batches import epoch_batches
from tl_train.head.features import CachedPart
from tl_train.history import Epoch
from tl_train.progress import Progress


def train_head(
    head: nn.Module, train: CachedPart, val: CachedPart | None, config: TrainConfig, progress: Progress
) -> list[Epoch]:
    """Train `head` in place on cached features, as `train_epochs` trains it behind a frozen backbone.

    Same optimizer, same order of the pictures, same batches: the same weights up to rounding, without computing the
    same features in every epoch.

    Args:
        head: maps (N, D) to logits (N, C).
        train: to learn from.
        val: to watch; may be None.
        config: epochs, batch size, learning rate and seed.
        progress: shows a line per epoch.

    Returns:
        A row per epoch; the last epoch's weights stay.

    """
    optimizer = torch.optim.Adam(head.parameters(), lr=config.steps.lr)
    features, labels = torch.from_numpy(train.features), torch.from_numpy(train.labels)
    history = []
    for number in range(1, config.steps.epochs + 1):
        started = time.perf_counter()
        head.train()
        loss_sum, correct = 0.0, 0
        for chosen in epoch_batches(len(train.labels), config, number):
            logits = head(features[list(chosen)])
            truth = labels[list(chosen)]
            loss = functional.cross_entropy(logits, truth)
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            loss_sum += loss.item() * len(truth)
            correct += int((logits.argmax(dim=1) == truth).sum())
        val_loss, val_accuracy = judge_head(head, val) if val else (None, None)
        mean_loss, accuracy = loss_sum / len(labels), correct / len(labels)
        row = Epoch(number, mean_loss, accuracy, val_loss, val_accuracy, time.perf_counter() - started)
        history.append(row)
        progress.epoch(row)
    return history


def judge_head(head: nn.Module, part: CachedPart) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy of a head on cached features."""
    logits, labels = torch.from_numpy(head_logits(head, part)), torch.from_numpy(part.labels)
    loss = functional.cross_entropy(logits, labels)
    return loss.item(), float((logits.argmax(dim=1) == labels).double().mean())


def head_logits(head: nn.Module, part: CachedPart) -> npt.NDArray[np.float32]:
    """What a head says to cached features: float32 (N, C). Leaves it in evaluation mode."""
    head.eval()
    with torch.inference_mode():
        logits: npt.NDArray[np.float32] = head(torch.from_numpy(part.features)).numpy()
        return logits
