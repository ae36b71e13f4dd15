"""Training speed, side by side in one run: the chapter's loop written plainly, against ours with identical settings.

    python benchmarks/train.py [--arch efficientnet_lite0] [--size 256] [--rounds 3]

Pictures and weights are random, so nothing is downloaded. Prints milliseconds and ratios; the rounds
alternate, so that a machine that slows down slows both, and medians are quoted.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from tl_infer.contract import PreprocessSpec
from tl_train.config import TrainConfig
from tl_train.data import Sample, batches
from tl_train.loop import load_batches, train_one_epoch
from tl_train.models import build_model, find_architecture
from tl_train.optim import make_optimizer
from tl_train.preprocess import Preprocessor

PICTURES = 32
BATCH = 8


def pictures() -> list[Sample]:
    """Random 64 x 64 pictures of two classes, as the chapter's are in size."""
    random = np.random.default_rng(0)
    return [Sample(str(i), i % 2, pixels=random.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for i in range(PICTURES)]


def build(arch: str) -> nn.Module:
    """The network with a new head; the same weights each time."""
    torch.manual_seed(0)
    return build_model(find_architecture(arch), "none", 2)


def chapter_epoch(arch: str, size: int) -> Callable[[], float]:
    """The chapter's loop as written there: contiguous tensors, Adam, batches of 8; returns the mean loss."""
    model = build(arch).to(memory_format=torch.contiguous_format)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_function = nn.CrossEntropyLoss()
    preprocess = preprocessor(arch, size)
    samples = pictures()
    images = torch.from_numpy(np.stack([preprocess(sample.load()) for sample in samples]))
    labels = torch.tensor([sample.label for sample in samples])

    def run() -> float:
        torch.manual_seed(1)
        losses = []
        for start in range(0, PICTURES, BATCH):
            optimizer.zero_grad()
            loss = loss_function(model(images[start : start + BATCH]), labels[start : start + BATCH])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return statistics.fmean(losses)

    return run


def our_epoch(arch: str, size: int) -> Callable[[], float]:
    """Our loop with the same settings, preprocessing included; returns the mean loss."""
    config = TrainConfig(data="random", arch=arch, size=size, batch_size=BATCH)
    fabric = Fabric(accelerator="cpu", devices=1)
    model = build(arch)
    model.train()
    optimizer = fabric.setup_optimizers(make_optimizer(model, config))
    wrapped = fabric.setup_module(model)
    samples, preprocess = pictures(), preprocessor(arch, size)
    parts = list(batches(range(PICTURES), BATCH))

    def run() -> float:
        torch.manual_seed(1)
        stream = load_batches(samples, preprocess, parts, fabric.device)
        return train_one_epoch(fabric, wrapped, optimizer, stream, config, [0.0] * len(parts), None, None)[0]

    return run


def preprocessor(arch: str, size: int) -> Preprocessor:
    """The architecture's own preprocessing at that size."""
    architecture = find_architecture(arch)
    return Preprocessor(PreprocessSpec(size=(size, size), mean=architecture.mean, std=architecture.std))


def side_by_side(first: Callable[[], float], second: Callable[[], float], rounds: int) -> tuple[float, float]:
    """Median milliseconds per step of the two, run in turn after a warm-up each."""
    print("loss of the first epoch:", *(f"{run():.4f}" for run in (first, second)))
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for run, times in zip((first, second), seconds, strict=True):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
    steps = PICTURES / BATCH
    return statistics.median(seconds[0]) * 1000 / steps, statistics.median(seconds[1]) * 1000 / steps


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="efficientnet_b0")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{options.arch}, {options.size} px, batch {BATCH}, {torch.get_num_threads()} threads")
    chapter, ours = side_by_side(
        chapter_epoch(options.arch, options.size), our_epoch(options.arch, options.size), options.rounds
    )
    print(f"step of the chapter's loop {chapter:8.1f} ms")
    print(f"step of ours               {ours:8.1f} ms   {chapter / ours:.2f}x")


if __name__ == "__main__":
    main()
