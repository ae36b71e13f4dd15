"""Configurations and data sets in a test: training by steps, loading, keeping what the user would be told."""

from tl_train.config import TrainConfig
from tl_train.data.dataset import load_dataset
from tl_train.progress import Progress

# All parameters, by steps of Adam from a random head: what the defaults are not.
BY_STEPS = {"mode": "full", "head_fit": "sgd", "prior": "none"}


class Notes(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def load(data, **fields):
    return load_dataset(TrainConfig.of(str(data), **fields), Progress())
