"""Batches: which images make up each step of an epoch, and their tensors, preprocessed ahead of the network."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from tl_infer.images import Pixels
from tl_infer.system.parallel import available_threads, ordered_map
from tl_train.config import TrainConfig
from tl_train.data.samples import Sample, truth_of
from tl_train.preprocess.graph import Preprocessor

# Decoded images of a part are kept in memory for the next epoch up to this many bytes.
KEPT_BYTES = 1 << 29

Batch = tuple[torch.Tensor, torch.Tensor]
Load = Callable[[Sample, int], Pixels]


def batches(order: Sequence[int], batch_size: int, smallest: int = 2) -> Iterator[Sequence[int]]:
    """Cut `order` into batches; a last one below `smallest` joins the one before, as batch normalisation needs two."""
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) - starts[-1] < smallest:
        starts.pop()
    for start, end in itertools.pairwise([*starts, len(order)]):
        yield order[start:end]


def epoch_batches(images: int, config: TrainConfig, epoch: int) -> list[Sequence[int]]:
    """Shuffled indices of each step, for all processes together."""
    order: list[int] = np.random.default_rng(seed_of(config.seed, epoch, 0)).permutation(images).tolist()
    return list(batches(order, config.steps.batch_size, smallest=2 * config.steps.devices))


def seed_of(*parts: int) -> int:
    """One seed from several numbers, far from that of neighbouring numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


class KeptImages:
    """Loads images and keeps them for the next epoch, as far as there is room; the others are decoded each time.

    Only what is asked for is decoded: of several processes that share an epoch, each one's share. Thread-safe.
    """

    def __init__(self, limit_bytes: int = KEPT_BYTES) -> None:
        self._left_bytes, self._lock = limit_bytes, threading.Lock()
        self._kept: dict[str, Pixels] = {}

    def __call__(self, sample: Sample) -> Pixels:
        """The image: uint8 (H, W, 3).

        Raises:
            ImageError: an image that could be read before cannot any more.

        """
        if sample.pixels is not None:
            return sample.pixels
        kept = self._kept.get(sample.name)
        if kept is not None:
            return kept
        pixels = sample.load()
        with self._lock:
            if pixels.nbytes <= self._left_bytes and sample.name not in self._kept:
                self._left_bytes -= pixels.nbytes
                self._kept[sample.name] = pixels
        return pixels


def load_batches(
    samples: Sequence[Sample],
    preprocessor: Preprocessor,
    parts: Sequence[Sequence[int]],
    device: torch.device,
    load: Load | None = None,
    layout: torch.memory_format = torch.channels_last,
) -> Iterator[Batch]:
    """Batches of preprocessed images, float32 (N, 3, h, w), with what is true of them.

    That is int64 (N,) or float32 (N, C), see `truth_of`.

    Images are decoded and preprocessed on threads, ahead of the network.

    Args:
        samples: what the indices in `parts` refer to.
        preprocessor: makes the network's input.
        parts: the indices of each batch.
        device: where the batches go.
        load: gives the pixels of a sample with its index, changed or kept in memory; None for those of its file.
        layout: of the images in memory.

    """

    def tensor(index: int) -> npt.NDArray[np.float32]:
        sample = samples[index]
        return preprocessor(sample.load() if load is None else load(sample, index))

    tensors = ordered_map(tensor, (index for part in parts for index in part), available_threads())
    for part in parts:
        stacked = np.stack([next(tensors) for _ in part])
        images = torch.from_numpy(stacked).to(device, memory_format=layout)
        yield images, torch.from_numpy(truth_of([samples[i] for i in part])).to(device)
