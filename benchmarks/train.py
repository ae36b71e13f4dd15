"""Training speed, side by side in one run: the chapter's loop, ours with identical settings, and the head alone.

    python benchmarks/train.py [--arch efficientnet_b0] [--size 256] [--rounds 5]

Pictures and weights are random, so nothing is downloaded. Each way has a process of its own, as a program has, and
only one works at a time. The rounds go through all of them in turn, so that a machine that slows down slows all;
medians are quoted. The first part compares a step of training; the second ten epochs: the chapter's loop, a frozen
backbone computed again in every epoch, and `--mode head`, which computes it once.
"""

import argparse
import statistics
from typing import Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from tl_infer import PreprocessSpec
from tl_train.config import TrainConfig
from tl_train.data.batches import batches, load_batches
from tl_train.data.samples import Sample
from tl_train.head.features import BackboneFeatures
from tl_train.head.steps import train_head
from tl_train.models.architectures import find_architecture
from tl_train.models.network import Network, build_network
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress
from tl_train.training.loop import Step, train_one_epoch
from tl_train.training.memory import keep_freed_memory
from tl_train.training.optim import make_optimizer
from turns import Run, Worker, in_turn

PICTURES = 32
BATCH = 8
EPOCHS = 10
LOSS_EPOCHS = 4


def pictures() -> list[Sample]:
    """Random 64 x 64 pictures of two classes, as the chapter's are in size."""
    random = np.random.default_rng(0)
    return [Sample(str(i), i % 2, pixels=random.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for i in range(PICTURES)]


def preprocessor(arch: str, size: int) -> Preprocessor:
    """The architecture's own preprocessing at that size."""
    architecture = find_architecture(arch)
    return Preprocessor(PreprocessSpec(size=(size, size), mean=architecture.mean, std=architecture.std))


def build(arch: str) -> Network:
    """The network with a new head; the same weights each time."""
    torch.manual_seed(0)
    return build_network(find_architecture(arch), "none", 2)


def chapter_epoch(arch: str, size: int) -> Run:
    """The chapter's loop as written there: contiguous tensors, Adam, batches of 8; returns the mean loss."""
    model = build(arch).module
    for parameter in model.parameters():  # not Module.to, which leaves 1 x 1 kernels in whichever format they are
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
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


def our_epoch(arch: str, size: int, mode: Literal["full", "head"] = "full") -> Run:
    """Our loop with the same settings, preprocessing included; returns the mean loss."""
    keep_freed_memory()
    config = TrainConfig.of("random", arch=arch, size=size, batch_size=BATCH, mode=mode)
    fabric = Fabric(accelerator="cpu", devices=1)
    network = build(arch)
    network.prepare_for_training(mode)
    optimizer = fabric.setup_optimizers(make_optimizer(network.module, config.steps))
    assert isinstance(optimizer, torch.optim.Optimizer)
    step = Step(fabric, fabric.setup_module(network.module), optimizer, None, None)
    samples, preprocess = pictures(), preprocessor(arch, size)
    parts = list(batches(range(PICTURES), BATCH))

    def run() -> float:
        torch.manual_seed(1)
        stream = load_batches(samples, preprocess, parts, fabric.device)
        return train_one_epoch(step, stream, config, [0.0] * len(parts))[0]

    return run


def cached_head(arch: str, size: int) -> Run:
    """All epochs on features computed once, which is what `--mode head` does; returns the last loss."""
    keep_freed_memory()
    config = TrainConfig.of("random", arch=arch, size=size, batch_size=BATCH, mode="head", epochs=EPOCHS)
    preprocess, samples = preprocessor(arch, size), pictures()

    def run() -> float:
        network = build(arch)
        network.prepare_for_training("head")
        part = BackboneFeatures.of(network, preprocess, Progress()).of_images(samples)
        return train_head(network.head, part, None, config, Progress())[-1].train_loss

    return run


def frozen_epoch(arch: str, size: int) -> Run:
    """Our loop behind a frozen backbone, which is computed again in every epoch."""
    return our_epoch(arch, size, "head")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="efficientnet_b0")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{options.arch}, {options.size} px, batch {BATCH}, {torch.get_num_threads()} threads")
    chapter, ours, frozen, cached = (
        Worker(make, options.arch, options.size) for make in (chapter_epoch, our_epoch, frozen_epoch, cached_head)
    )
    for number in range(1, LOSS_EPOCHS + 1):  # the warm-up, too
        print(f"loss of epoch {number}: the chapter's {chapter.timed()[1]:.4f}, ours {ours.timed()[1]:.4f}")
    theirs_s, ours_s = in_turn({chapter: 1, ours: 1}, options.rounds)
    ms = 1000 * BATCH / PICTURES
    print(f"step of the chapter's loop {theirs_s * ms:8.1f} ms")
    print(f"step of ours               {ours_s * ms:8.1f} ms   {theirs_s / ours_s:.2f}x")

    for worker in (frozen, cached):
        worker.timed()
    work = {chapter: EPOCHS, frozen: EPOCHS, cached: 1}
    chapter_s, frozen_s, cached_s = in_turn(work, max(1, options.rounds // 2))
    print(f"{EPOCHS} epochs of the chapter's loop           {chapter_s:6.1f} s")
    print(f"{EPOCHS} epochs of a frozen backbone, recomputed {frozen_s:5.1f} s   {chapter_s / frozen_s:.1f}x")
    print(
        f"{EPOCHS} epochs of a head on cached features     {cached_s:5.1f} s   {chapter_s / cached_s:.1f}x, "
        f"{frozen_s / cached_s:.1f}x the recomputed"
    )


if __name__ == "__main__":
    main()
