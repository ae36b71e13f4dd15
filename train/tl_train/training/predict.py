"""Run inference on images: the logits of a network, their loss and accuracy, its embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tl_train.data.batches import KeptImages, Load, batches, load_batches
from tl_train.data.samples import Sample, truth_of
from tl_train.models.network import Network
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress
from tl_train.training.losses import count_right, mean_loss
from tl_train.training.processes import gathered

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # which takes seconds to import

Logits = npt.NDArray[np.float32]

# Small enough that the allocator keeps the largest activations between batches, instead of giving them back to the
# kernel: at 224 px faster than batches of 32, in 0.6 GB less.
EVAL_BATCH_SIZE = 8


def evaluate(
    fabric: Fabric, module: nn.Module, samples: Sequence[Sample], preprocessor: Preprocessor, kept: KeptImages
) -> tuple[float, float]:
    """Mean loss and accuracy over the samples, the same in all processes; see `mean_loss` and `count_right`.

    Args:
        fabric: the processes; each runs the network on its share of the samples.
        module: the network, which is left in evaluation mode.
        samples: one or more.
        preprocessor: makes the network's input.
        kept: loads the images of this process.

    """
    parts = _parts(samples)
    of_each = [parts[rank :: fabric.world_size] for rank in range(fabric.world_size)]
    rows = list(map(torch.from_numpy, _logits(module, samples, preprocessor, of_each[fabric.global_rank], kept)))
    found = gathered(torch.cat(rows) if rows else None, [sum(map(len, of_one)) for of_one in of_each])
    places = [place for of_one in of_each for part in of_one for place in part]
    logits = torch.empty_like(found)
    logits[places] = found
    truth = torch.from_numpy(truth_of(samples))
    right, answers = count_right(logits, truth)
    return mean_loss(logits, truth).item(), right / answers


def predict(
    module: nn.Module, samples: Sequence[Sample], preprocessor: Preprocessor, progress: Progress | None = None
) -> Logits:
    """Logits of the samples: float32 (N, C), in their order. Leaves the network in evaluation mode."""
    parts = _parts(samples)
    found = _logits(module, samples, preprocessor, parts)
    return np.concatenate(list((progress or Progress()).steps(found, "Validating", len(parts))))


def _parts(samples: Sequence[Sample]) -> list[Sequence[int]]:
    return list(batches(range(len(samples)), EVAL_BATCH_SIZE))


def _logits(
    module: nn.Module,
    samples: Sequence[Sample],
    preprocessor: Preprocessor,
    parts: Sequence[Sequence[int]],
    kept: KeptImages | None = None,
) -> Iterator[Logits]:
    """The logits of each part, float32 (n, C)."""
    device = next(module.parameters()).device
    load: Load | None = None if kept is None else lambda sample, _: kept(sample)
    module.eval()
    for images, _ in load_batches(samples, preprocessor, parts, device, load):
        with torch.inference_mode():
            logits: Logits = module(images).float().cpu().numpy()
        yield logits


def predict_and_embed(
    network: Network, samples: Sequence[Sample], preprocessor: Preprocessor
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """As `predict`, with the embeddings: logits float32 (N, C), and what the head sees, float32 (N, D)."""
    kept: list[npt.NDArray[np.float32]] = []
    head = network.module.get_submodule(network.architecture.head)
    handle = head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].float().cpu().numpy()))
    try:
        logits = predict(network.module, samples, preprocessor)
    finally:
        handle.remove()
    return logits, np.concatenate(kept)
