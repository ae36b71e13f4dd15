"""Does decoding starve the network? Steps of `--mode full` from JPEG files against those on tensors in memory.

    python benchmarks/pipeline.py [--photos 160] [--augment standard] [--batch-size 32] [--rounds 3]

The photos are those of make_photos.py, about 500 x 375 pixels. Both ways work in a process of their own, in turn, with
EfficientNet-Lite0 at its own size; the second has the very batches that the first makes, made before the clock starts.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from make_photos import save
from tl_infer import PreprocessSpec
from tl_infer.images import Pixels
from tl_train import TrainConfig
from tl_train.data.batches import Batch, batches, load_batches
from tl_train.data.samples import Sample
from tl_train.models.architectures import find_architecture
from tl_train.models.network import build_network
from tl_train.preprocess.graph import Preprocessor
from tl_train.training.augment import make_augmentation
from tl_train.training.loop import Step, train_one_epoch
from tl_train.training.memory import keep_freed_memory
from tl_train.training.optim import make_optimizer
from tl_train.training.waiting import wait_briefly
from turns import Run, Worker, in_turn

CLASSES = 2


def epoch(photos: list[Path], fields: dict[str, Any], in_memory: bool) -> Run:
    """An epoch over the photos; returns its mean loss."""
    keep_freed_memory()
    config = TrainConfig.of("photos", mode="full", **fields)
    architecture = find_architecture(config.model.arch)
    torch.manual_seed(0)
    network = build_network(architecture, "none", CLASSES)
    network.prepare_for_training("full")
    fabric = Fabric(accelerator="cpu", devices=1)
    module = network.module.to(memory_format=torch.channels_last)
    optimizer = fabric.setup_optimizers(make_optimizer(module, config.steps))
    assert isinstance(optimizer, torch.optim.Optimizer)
    step = Step(fabric, fabric.setup_module(module), optimizer, None, None)
    size = (architecture.size, architecture.size)
    preprocessor = Preprocessor(PreprocessSpec(size=size, mean=architecture.mean, std=architecture.std))
    samples = [Sample(path.name, number % CLASSES, path) for number, path in enumerate(photos)]
    parts = list(batches(range(len(samples)), config.steps.batch_size))
    augmentation = make_augmentation(config.steps.augment)

    def load(sample: Sample, index: int) -> Pixels:
        return augmentation(sample.load(), index) if augmentation else sample.load()

    def stream() -> Iterator[Batch]:
        return load_batches(samples, preprocessor, parts, fabric.device, load)

    made = list(stream()) if in_memory else None

    def run() -> float:
        return train_one_epoch(step, iter(made) if made else stream(), config, [0.0] * len(parts))[0]

    return run


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=160)
    parser.add_argument("--augment", default="standard")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    wait_briefly()  # in the processes that are started
    fields = {"augment": options.augment, "batch_size": options.batch_size}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label in range(CLASSES):
            (folder / f"class{label:03}").mkdir()
        for number in range(options.photos):
            save(number, CLASSES, folder)
        photos = sorted(folder.rglob("*.jpg"))
        files, memory = (Worker(epoch, photos, fields, in_memory) for in_memory in (False, True))
        for worker in (files, memory):
            worker.timed()
        files_s, memory_s = in_turn({files: 1, memory: 1}, options.rounds)
    print(f"steps from files       {options.photos / files_s:6.1f} images/s")
    print(f"steps from memory      {options.photos / memory_s:6.1f} images/s   files at {memory_s / files_s:.2f} of it")


if __name__ == "__main__":
    main()
