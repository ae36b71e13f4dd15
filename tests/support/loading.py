"""Loading a data set in a test: with defaults, and keeping what the user would be told."""

from tl_train.config import TrainConfig
from tl_train.data.dataset import load_dataset
from tl_train.progress import Progress


class Notes(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def load(data, **fields):
    return load_dataset(TrainConfig(data=str(data), **fields), Progress())
