"""What the epochs of a run measured, as values and as rows of a table."""

import dataclasses
from collections.abc import Mapping

from tl_train.tables import aligned


@dataclasses.dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch measured.

    Attributes:
        epoch: counted from 1.
        train_loss, train_accuracy: mean cross-entropy and share of correct answers while training, so each image was
            judged by the network as it was at that step.
        val_loss, val_accuracy: of the validation images after the epoch; None without such images.
        seconds: wall time of the epoch, validation included.

    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    seconds: float

    @staticmethod
    def from_row(row: Mapping[str, str]) -> "Epoch":
        """An epoch from its row in history.csv.

        Raises:
            KeyError, ValueError: a column is missing or holds something else.

        """
        val = [float(row[name]) if row[name] else None for name in ("val_loss", "val_accuracy")]
        return Epoch(
            int(float(row["epoch"])), float(row["train_loss"]), float(row["train_accuracy"]), val[0], val[1],
            float(row["seconds"]),
        )  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """The epochs of a run.

    Attributes:
        epochs: in order; one for a head that is fitted at once.
        kept_epoch: whose weights were kept, counted from 1: the last, or the best with early stopping; 0 where the head
            that was fitted before these epochs was kept alone.

    """

    epochs: list[Epoch]
    kept_epoch: int


def table_header() -> str:
    """The columns' names, aligned with `table_row`."""
    return _line("epoch", "train loss", "train acc", "val loss", "val acc", "seconds")


def table_row(row: Epoch) -> str:
    """One epoch as a line; a dash where there are no validation images."""
    val = ["-", "-"]
    if row.val_loss is not None and row.val_accuracy is not None:
        val = [f"{row.val_loss:.4f}", f"{row.val_accuracy:.2%}"]
    return _line(f"{row.epoch}", f"{row.train_loss:.4f}", f"{row.train_accuracy:.2%}", *val, f"{row.seconds:.1f}")


def _line(*cells: str) -> str:
    (line,) = aligned([cells], min_width=len("train loss"))
    return line
