"""Cached backbone features: each picture goes through the frozen network once, and a head is fitted in seconds."""

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn import functional

from tl_train.config import TrainConfig
from tl_train.data.batches import batches
from tl_train.data.samples import Sample, labels_of
from tl_train.history import Epoch
from tl_train.models.network import Architecture
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress
from tl_train.training.epochs import epoch_batches
from tl_train.training.loop import load_batches

Features = npt.NDArray[np.float32]

# Small enough that the allocator keeps the largest activations between batches, instead of giving them back to the
# kernel: on two cores at 224 px about 1.15 times as fast as batches of 32.
FEATURE_BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CachedPart:
    """The features of one part of a data set.

    Attributes:
        features: float32 (N, D), what the head sees.
        labels: int64 (N,).

    Raises:
        ValueError: not as many labels as rows.

    """

    features: Features
    labels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or self.labels.shape != self.features.shape[:1]:
            raise ValueError(
                f"found features {self.features.shape} and labels {self.labels.shape}, expected (N, D), (N,)"
            )

    def chosen(self, which: npt.NDArray[np.bool_]) -> "CachedPart":
        """Some of the pictures."""
        return CachedPart(self.features[which], self.labels[which])


def backbone_features(
    model: nn.Module,
    architecture: Architecture,
    samples: Sequence[Sample],
    preprocessor: Preprocessor,
    progress: Progress,
) -> Features:
    """What the head of `model` sees of each picture: float32 (N, D), in the samples' order.

    The network is in evaluation mode, and stays so: batch normalisation uses its stored statistics, nothing is
    dropped.
    """
    device = next(model.parameters()).device
    kept: list[Features] = []

    def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        kept.append(inputs[0].float().cpu().numpy())

    model.eval()
    hook = model.get_submodule(architecture.head).register_forward_pre_hook(keep)
    try:
        with torch.inference_mode():
            parts = list(batches(range(len(samples)), FEATURE_BATCH_SIZE))
            stream = load_batches(samples, preprocessor, parts, device)
            steps = sum(1 for _ in batches(range(len(samples)), FEATURE_BATCH_SIZE))
            for images, _ in progress.steps(stream, "Computing features", steps):
                model(images)
    finally:
        hook.remove()
    return np.concatenate(kept)


def cached_part(
    model: nn.Module,
    architecture: Architecture,
    samples: Sequence[Sample],
    preprocessor: Preprocessor,
    progress: Progress,
) -> CachedPart:
    """The features of `samples` with their labels."""
    features = backbone_features(model, architecture, samples, preprocessor, progress)
    return CachedPart(features, labels_of(samples))


def fit_head(
    head: nn.Module, train: CachedPart, val: CachedPart | None, config: TrainConfig, progress: Progress
) -> list[Epoch]:
    """Train `head` in place on cached features, as `tl_train.training.epochs.fit` trains it behind a frozen backbone.

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
    fabric = Fabric(accelerator="auto", devices=1)
    learning = [parameter for parameter in head.parameters() if parameter.requires_grad]
    wrapped, optimizer = fabric.setup(head.to(fabric.device), torch.optim.Adam(learning, lr=config.lr))
    features, labels = _on(fabric.device, train)
    history = []
    for number in range(1, config.epochs + 1):
        started = time.perf_counter()
        head.train()
        loss_sum, correct = 0.0, 0
        for chosen in epoch_batches(len(train.labels), config, number):
            logits = wrapped(features[list(chosen)])
            truth = labels[list(chosen)]
            loss = functional.cross_entropy(logits, truth)
            fabric.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            loss_sum += loss.item() * len(truth)
            correct += int((logits.argmax(dim=1) == truth).sum())
        val_loss, val_accuracy = judge_head(head, val) if val else (None, None)
        mean_loss, accuracy = loss_sum / len(labels), correct / len(labels)
        row = Epoch(number, mean_loss, accuracy, val_loss, val_accuracy, time.perf_counter() - started)
        history.append(row)
        progress.epoch(row)
    head.to("cpu")
    return history


def judge_head(head: nn.Module, part: CachedPart) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy of a head on cached features."""
    features, labels = _on(next(head.parameters()).device, part)
    head.eval()
    with torch.inference_mode():
        logits = head(features)
        loss = functional.cross_entropy(logits, labels)
        return loss.item(), float((logits.argmax(dim=1) == labels).double().mean())


def _on(device: torch.device, part: CachedPart) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(part.features).to(device), torch.from_numpy(part.labels).to(device)
