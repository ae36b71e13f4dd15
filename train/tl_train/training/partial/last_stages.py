"""`LastStages`: the part of a network that mode `partial` trains, with the activations that it is trained on."""

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from tl_train.config import TrainConfig
from tl_train.data.batches import Batch, batches, epoch_batches, seed_of
from tl_train.evaluation.answers import Answers
from tl_train.models.network import keep_statistics, memory_layout
from tl_train.training.partial.activations import Activations, Draw

# So many activations at a time go through the stages on a CPU, whatever the batch size: memory is that of these, and a
# step hardly slower (16 images of Lite0 at 224 px instead of 64: 1.05 times the time, 0.5 GB less). Batch normalisation
# keeps its statistics, so the sum of their gradients is the gradient of the batch.
_CHUNK_VALUES = 16 * 112 * 14 * 14
_CPU_CHUNKS = (8, 64)  # at least and at most so many images
_GPU_CHUNK = 512

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LastStages:
    """The stages that are trained, and what they are trained on.

    Attributes:
        module: activations of one or more images -> logits (N, C).
        activations: of the frozen stages, for all training images.
        labels: of all training images.
        trained: indices of those that are trained on.
        mirrored: whether half of the images, drawn anew in every epoch, are mirrored.

    """

    module: nn.Module
    activations: Activations
    labels: Ints
    trained: Ints
    mirrored: bool = False

    def answers(self, images: Ints, *, mirrored: bool = False) -> Answers:
        """What the stages say of some of the images as they are, or mirrored; on the device where the stages are."""
        self.module.eval()
        parts = [[(index, mirrored) for index in part] for part in batches(images.tolist(), self._chunk())]
        with torch.inference_mode():
            logits = [
                self.module(self._tensor(values)).float().cpu().numpy() for values in self.activations.batches(parts)
            ]
        return Answers(np.concatenate(logits), self.labels[images])

    def batches(self, parts: Sequence[Sequence[Draw]]) -> Iterator[Batch]:
        """Activations in the module's memory format, with their labels."""
        for part, values in zip(parts, self.activations.batches(parts), strict=True):
            tensor = self._tensor(values)
            yield tensor, torch.from_numpy(self.labels[[index for index, _ in part]]).to(tensor.device)

    def draws(self, config: TrainConfig, epoch: int) -> list[list[Draw]]:
        """The images of each step of an epoch, and which of them are mirrored."""
        flips = np.random.default_rng(seed_of(config.seed, epoch, 3)).random(len(self.labels)) < 0.5
        parts = epoch_batches(len(self.trained), config, epoch)
        return [
            [(int(image), self.mirrored and bool(flips[image])) for image in self.trained[list(part)]] for part in parts
        ]

    def images_per_s(self, batch_size: int) -> float:
        """How many images training takes, measured on a step that changes nothing."""
        draws = [[(int(image), False) for image in self.trained[: min(batch_size, self._chunk())]]] * 3
        self.prepare()
        times_s = []
        for tensor, labels in self.batches(draws):
            started = time.perf_counter()
            torch.autograd.backward(functional.cross_entropy(self.module(tensor), labels))
            times_s.append(time.perf_counter() - started)
        self.module.zero_grad()
        return len(draws[0]) / min(times_s)

    def prepare(self) -> None:
        """As in training, but batch normalisation keeps its statistics: those of some thousand images are worse."""
        self.module.requires_grad_(True)
        self.module.train()
        keep_statistics(self.module)

    def _chunk(self) -> int:
        """How many images go through the stages at a time."""
        return chunk_of(math.prod(self.activations.shape), next(self.module.parameters()).device)

    def _tensor(self, values: npt.NDArray[np.float32]) -> torch.Tensor:
        device = next(self.module.parameters()).device
        layout = memory_layout(self.module) if values.ndim == 4 else torch.contiguous_format
        return torch.from_numpy(values).to(device, memory_format=layout)


def chunk_of(values: int, device: torch.device) -> int:
    """How many images of so many activations go through the stages at a time."""
    fewest, most = _CPU_CHUNKS
    return min(max(_CHUNK_VALUES // values, fewest), most) if device.type == "cpu" else _GPU_CHUNK
