"""`ComparedArchitecture`: what a comparison of architectures found, as a table and as a file of the run's folder."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from tl_infer.errors import first_line
from tl_infer.model.records import read_value
from tl_infer.system.files import read_text, write_text
from tl_train.errors import RunError
from tl_train.tables import aligned

_HEADER = ("architecture", "px", "accuracy", "ms/image", "licence", "")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ComparedArchitecture:
    """One of several architectures, judged by a penalised head on its frozen features.

    Attributes:
        name: as `--arch` takes it.
        size: of its input, as `--size` takes it.
        licence: of its weights; "" where none is stated.
        ms: of processor time for one decoded image: preprocessing, and the network up to its head, on one core; None
            where it was not tried.
        accuracy: cross-validated on training images, 0..1; None where it was not judged.
        standard_error: of the accuracy.
        log_loss: likewise cross-validated, nats, at the temperature that suits it.
        note: why it was not judged; "" where it was.
        chosen: whether the run's model is this one.

    """

    name: str
    size: str
    licence: str
    ms: float | None = None
    accuracy: float | None = None
    standard_error: float | None = None
    log_loss: float | None = None
    note: str = ""
    chosen: bool = False

    def cells(self) -> tuple[str, ...]:
        """A row of the table, texts."""
        judged = "-"
        if self.accuracy is not None and self.standard_error is not None:
            judged = f"{self.accuracy:.1%} ± {self.standard_error:.1%}"
        ms = "-" if self.ms is None else f"{self.ms:.1f}"
        return (self.name, self.size, judged, ms, self.licence or "not stated", "chosen" if self.chosen else self.note)


def table(compared: Sequence[ComparedArchitecture]) -> list[tuple[str, ...]]:
    """The comparison as cells, texts: a header, and a row for each."""
    return [_HEADER, *(one.cells() for one in compared)]


def table_lines(compared: Sequence[ComparedArchitecture]) -> list[str]:
    """The comparison as aligned lines for a terminal."""
    return aligned(table(compared), names=1, notes=2)


def save_compared(path: Path, compared: Sequence[ComparedArchitecture]) -> None:
    """Write what was compared, so that a run that goes on makes no other choice.

    Raises:
        OutputPathError: the file cannot be written.

    """
    write_text(path, json.dumps([dataclasses.asdict(one) for one in compared], indent=2, ensure_ascii=False) + "\n")


def load_compared(path: Path) -> tuple[ComparedArchitecture, ...]:
    """What `save_compared` wrote.

    Raises:
        RunError: the file is missing or damaged.

    """
    try:
        rows = json.loads(read_text(path))
        found: tuple[ComparedArchitecture, ...] = read_value(
            tuple[ComparedArchitecture, ...], rows, "architectures", RunError
        )
    except (OSError, ValueError, RunError) as error:
        raise RunError(f"{path}: cannot be read: {first_line(error)}; start again with --overwrite") from error
    if sum(one.chosen for one in found) != 1:
        raise RunError(f"{path}: names no chosen architecture; start again with --overwrite")
    return found
