"""TensorBoard events: the epochs' measurements as scalars, beside whatever else shows the progress."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tl_train.errors import TrainingError
from tl_train.history import Epoch
from tl_train.progress import DownloadBar, Item, Progress

FOLDER = "tensorboard"


class TensorBoardProgress(Progress):
    """Passes everything on to another progress, and writes each epoch to an event file, at once.

    Args:
        inner: what shows the progress.
        folder: for the event files; made with the first epoch.

    Raises:
        TrainingError: the package tensorboard is not installed.

    """

    def __init__(self, inner: Progress, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError("--tensorboard requires the tensorboard package: pip install tensorboard") from error
        self._inner = inner
        self._folder = folder
        self._open = SummaryWriter
        self._writer: SummaryWriter | None = None

    def note(self, text: str) -> None:
        """Pass the line on."""
        self._inner.note(text)

    def epoch(self, row: Epoch) -> None:
        """Write the scalars; those of a resumed run replace what the interrupted one wrote after its checkpoint."""
        self._inner.epoch(row)
        if self._writer is None:
            self._writer = self._open(str(self._folder), purge_step=row.epoch)
        scalars = {
            "loss/train": row.train_loss,
            "loss/validation": row.val_loss,
            "accuracy/train": row.train_accuracy,
            "accuracy/validation": row.val_accuracy,
            "seconds": row.seconds,
        }
        for name, value in scalars.items():
            if value is not None:
                self._writer.add_scalar(name, value, row.epoch)
        self._writer.flush()

    def steps(self, items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
        """Pass the steps on."""
        return self._inner.steps(items, description, total)

    @contextlib.contextmanager
    def counter(self, description: str) -> Iterator[Callable[[int, int], None]]:
        """Pass the counter on."""
        with self._inner.counter(description) as report:
            yield report

    @contextlib.contextmanager
    def download(self, name: str) -> Iterator[DownloadBar]:
        """Pass the download on."""
        with self._inner.download(name) as bar:
            yield bar
