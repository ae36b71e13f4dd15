"""The steps of training, written out: train one epoch, evaluate, predict, and the batches they take."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from tl_infer.images import Pixels
from tl_infer.system.parallel import available_threads, ordered_map
from tl_train.config import TrainConfig
from tl_train.data.batches import batches
from tl_train.data.samples import Sample, labels_of
from tl_train.preprocess.graph import Preprocessor
from tl_train.training.optim import learning_rate, set_learning_rate

EVAL_BATCH_SIZE = 32

Batch = tuple[torch.Tensor, torch.Tensor]
Change = Callable[[Pixels, int], Pixels]


def train_one_epoch(
    fabric: Fabric,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    stream: Iterator[Batch],
    config: TrainConfig,
    schedule: Sequence[float],
    weights: torch.Tensor | None,
    average: AveragedModel | None,
) -> tuple[float, float]:
    """One pass over the batches.

    Args:
        fabric: device, precision and the other processes.
        model: as fabric set it up.
        optimizer: likewise.
        stream: batches of this process.
        config: label smoothing.
        schedule: for each step, the epochs done before it, as a fraction; decides the learning rate.
        weights: of the classes, float32 (C,), or None.
        average: moving average to update after every step, or None.

    Returns:
        Mean loss and accuracy over the pictures of all processes.

    """
    totals = torch.zeros(3, dtype=torch.float64)  # loss, correct, pictures
    for done, (images, labels) in zip(schedule, stream, strict=True):
        set_learning_rate(optimizer, learning_rate(config, done))
        logits = model(images)
        loss = functional.cross_entropy(logits, labels, weights, label_smoothing=config.label_smoothing)
        fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        if average is not None:
            average.update_parameters(model)
        correct = (logits.argmax(dim=1) == labels).sum().item()
        totals += torch.tensor([loss.item() * len(labels), correct, len(labels)], dtype=torch.float64)
    summed = fabric.all_reduce(totals, reduce_op="sum")
    assert isinstance(summed, torch.Tensor)
    loss_sum, correct_sum, pictures = summed.tolist()
    return loss_sum / pictures, correct_sum / pictures


def evaluate(model: nn.Module, samples: Sequence[Sample], preprocessor: Preprocessor) -> tuple[float, float]:
    """Mean cross-entropy and accuracy over the samples."""
    logits = torch.from_numpy(predict(model, samples, preprocessor))
    labels = torch.from_numpy(labels_of(samples))
    loss = functional.cross_entropy(logits, labels)
    return loss.item(), float((logits.argmax(dim=1) == labels).double().mean())


def predict(model: nn.Module, samples: Sequence[Sample], preprocessor: Preprocessor) -> npt.NDArray[np.float32]:
    """Logits of the samples: float32 (N, C), in their order. Leaves the model in evaluation mode."""
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        parts = list(batches(range(len(samples)), EVAL_BATCH_SIZE))
        stream = load_batches(samples, preprocessor, parts, device)
        results = [model(images).float().cpu().numpy() for images, _ in stream]
    logits: npt.NDArray[np.float32] = np.concatenate(results)
    return logits


def load_batches(
    samples: Sequence[Sample],
    preprocessor: Preprocessor,
    parts: Sequence[Sequence[int]],
    device: torch.device,
    change: Change | None = None,
) -> Iterator[Batch]:
    """Batches of preprocessed pictures, float32 (N, 3, h, w) in channels_last, with their labels, int64 (N,).

    Pictures are decoded and preprocessed on threads, ahead of the network.

    Args:
        samples: what the indices in `parts` refer to.
        preprocessor: makes the network's input.
        parts: the indices of each batch.
        device: where the batches go.
        change: what to do to a picture before preprocessing, given its pixels and index; nothing when None.

    """

    def load(index: int) -> npt.NDArray[np.float32]:
        pixels = samples[index].load()
        return preprocessor(pixels if change is None else change(pixels, index))

    tensors = ordered_map(load, (index for part in parts for index in part), available_threads())
    for part in parts:
        stacked = np.stack([next(tensors) for _ in part])
        # The memory format in which convolutions are fastest: B0's training step takes 0.6 of the time.
        images = torch.from_numpy(stacked).to(device, memory_format=torch.channels_last)
        labels = torch.tensor([samples[i].label for i in part], device=device)
        yield images, labels
