"""The training loop, written out: train one epoch, evaluate, predict."""

import dataclasses
import time
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn import functional

from tl_infer.folder import ordered_map
from tl_infer.session import available_threads
from tl_train.config import TrainConfig
from tl_train.data import Dataset, Sample, batches
from tl_train.models import Architecture, prepare_for_training
from tl_train.preprocess import Preprocessor
from tl_train.progress import Progress

EVAL_BATCH_SIZE = 32

Batch = tuple[torch.Tensor, torch.Tensor]


@dataclasses.dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch measured.

    Attributes:
        epoch: counted from 1.
        train_loss, train_accuracy: mean cross-entropy and share of correct answers while training, so each picture
            was judged by the network as it was at that step.
        val_loss, val_accuracy: of the validation pictures after the epoch; None without such pictures.
        seconds: wall time of the epoch, validation included.

    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    seconds: float


def fit(
    model: nn.Module,
    architecture: Architecture,
    dataset: Dataset,
    preprocessor: Preprocessor,
    config: TrainConfig,
    progress: Progress,
) -> list[Epoch]:
    """Train `model` in place on `dataset.train`; the last epoch's weights stay. Returns a row per epoch."""
    fabric = Fabric(accelerator="auto", devices=1)
    trained = model.to(fabric.device)
    generator = np.random.default_rng(config.seed)
    prepare_for_training(trained, architecture, config.mode)
    learning = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    wrapped, optimizer = fabric.setup(trained, torch.optim.Adam(learning, lr=config.lr))
    history = []
    progress.note(table_header(bool(dataset.val)))
    for number in range(1, config.epochs + 1):
        started = time.perf_counter()
        order = [dataset.train[i] for i in generator.permutation(len(dataset.train))]
        prepare_for_training(trained, architecture, config.mode)
        stream = load_batches(order, preprocessor, config.batch_size, fabric.device)
        shown = progress.steps(stream, f"Epoch {number}/{config.epochs}", _steps(len(order), config.batch_size))
        train_loss, train_accuracy = train_one_epoch(fabric, wrapped, optimizer, shown)
        val_loss, val_accuracy = evaluate(trained, dataset.val, preprocessor) if dataset.val else (None, None)
        row = Epoch(number, train_loss, train_accuracy, val_loss, val_accuracy, time.perf_counter() - started)
        history.append(row)
        progress.note(table_row(row))
    model.to("cpu")
    return history


def train_one_epoch(
    fabric: Fabric, model: nn.Module, optimizer: torch.optim.Optimizer, stream: Iterator[Batch]
) -> tuple[float, float]:
    """One pass over the batches; returns mean cross-entropy and accuracy over their pictures."""
    loss_sum, correct, seen = 0.0, 0, 0
    for images, labels in stream:
        logits = model(images)
        loss = functional.cross_entropy(logits, labels)
        fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        loss_sum += loss.item() * len(labels)
        correct += int((logits.argmax(dim=1) == labels).sum())
        seen += len(labels)
    return loss_sum / seen, correct / seen


def evaluate(model: nn.Module, samples: Sequence[Sample], preprocessor: Preprocessor) -> tuple[float, float]:
    """Mean cross-entropy and accuracy over the samples."""
    logits = torch.from_numpy(predict(model, samples, preprocessor))
    labels = torch.tensor([sample.label for sample in samples])
    loss = functional.cross_entropy(logits, labels)
    return loss.item(), float((logits.argmax(dim=1) == labels).double().mean())


def predict(model: nn.Module, samples: Sequence[Sample], preprocessor: Preprocessor) -> npt.NDArray[np.float32]:
    """Logits of the samples: float32 (N, C), in their order. Leaves the model in evaluation mode."""
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        stream = load_batches(samples, preprocessor, EVAL_BATCH_SIZE, device)
        results = [model(images).float().cpu().numpy() for images, _ in stream]
    logits: npt.NDArray[np.float32] = np.concatenate(results)
    return logits


def load_batches(
    samples: Sequence[Sample], preprocessor: Preprocessor, batch_size: int, device: torch.device
) -> Iterator[Batch]:
    """Batches of preprocessed pictures, float32 (N, 3, h, w) in channels_last, with their labels, int64 (N,).

    Pictures are decoded and preprocessed on threads, ahead of the network.
    """
    tensors = ordered_map(lambda sample: preprocessor(sample.load()), samples, available_threads())
    for indices in batches(range(len(samples)), batch_size):
        stacked = np.stack([next(tensors) for _ in indices])
        # The memory format in which convolutions are fastest: B0's training step takes 0.6 of the time.
        images = torch.from_numpy(stacked).to(device, memory_format=torch.channels_last)
        labels = torch.tensor([samples[i].label for i in indices], device=device)
        yield images, labels


def _steps(pictures: int, batch_size: int) -> int:
    return sum(1 for _ in batches(range(pictures), batch_size))


def table_header(with_val: bool) -> str:
    """The line above the rows of epochs."""
    columns = ["epoch", "train loss", "train acc", *(["val loss", "val acc"] if with_val else []), "seconds"]
    return "  ".join(f"{column:>10}" for column in columns)


def table_row(row: Epoch) -> str:
    """An epoch as a line for people."""
    cells = [f"{row.epoch}", f"{row.train_loss:.4f}", f"{row.train_accuracy:.2%}"]
    if row.val_loss is not None and row.val_accuracy is not None:
        cells += [f"{row.val_loss:.4f}", f"{row.val_accuracy:.2%}"]
    return "  ".join(f"{cell:>10}" for cell in [*cells, f"{row.seconds:.1f}"])
