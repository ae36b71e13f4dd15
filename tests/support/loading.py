"""Configurations and data sets in a test: training by steps, loading, keeping what the user would be told."""

import dataclasses
import itertools

from tl_train import train
from tl_train.config import TrainConfig
from tl_train.data.dataset import Dataset, load_dataset
from tl_train.data.looks import looks_of
from tl_train.data.sources.reading import read_source
from tl_train.progress import Progress

# All parameters, by steps of Adam from a random head: what the defaults are not.
BY_STEPS = {"mode": "full", "head_fit": "sgd", "prior": "none"}


def train_on_shapes(shapes, out, size):
    """A network that really tells the shapes apart, so that its answers change with its input."""
    config = TrainConfig.of(
        str(shapes),
        arch="timm:test_efficientnet",
        weights="none",
        size=size,
        epochs=12,
        lr=0.01,
        batch_size=6,
        **BY_STEPS,
    )
    train(config, out)
    return out


class Notes(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def load(data, **fields):
    return load_with(TrainConfig.of(str(data), **fields))


def load_with(config, progress=None):
    progress = progress or Progress()
    return load_dataset(config, read_source(config, progress), progress)


def dataset_of(labels, train, val=(), test=(), broken=()):
    """A data set of images in memory."""
    pixels = [sample.pixels for sample in (*train, *val, *test)]
    rows = itertools.count()
    parts = [[dataclasses.replace(sample, row=next(rows)) for sample in part] for part in (train, val, test)]
    return Dataset(labels, *parts, broken, looks_of(pixels))
