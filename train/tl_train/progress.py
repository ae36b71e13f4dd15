"""What a long run tells the person who waits: silent in a library call, lines and bars on a terminal."""

import contextlib
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from tl_infer.text.safetext import printable
from tl_train.history import Epoch, table_header, table_row

Item = TypeVar("Item")

# How often a log file is told how far a long step is, seconds.
PLAIN_INTERVAL_S = 10.0

_TEXT = TextColumn("{task.description}", markup=False)  # a name in brackets is no style
_STEP_COLUMNS = (_TEXT, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def print_line(console: Console, text: str) -> None:
    """Print a line, control characters as escapes.

    For a terminal it is broken between words and never inside one, so a path without spaces can be copied; a log or a
    pipe gets it whole.
    """
    text = printable(text)
    if console.is_terminal:  # rich would break long words, too
        text = textwrap.fill(text, console.width, break_long_words=False, break_on_hyphens=False)
    console.print(Text(text), soft_wrap=True)


class DownloadBar(Protocol):
    """The progress bar that pooch drives: `total` is set, then `update(bytes)` is called."""

    total: float

    def update(self, amount: int) -> None:
        """Count bytes."""

    def reset(self) -> None:
        """Start again (a retry), or finish at the total."""

    def close(self) -> None:
        """Stop showing."""


class Progress:
    """Says nothing; the base of every other way to show progress, and the default in library calls."""

    def note(self, text: str) -> None:
        """A line that the user should see."""

    def epoch(self, row: Epoch) -> None:
        """What an epoch measured; a header goes before the first."""
        if row.epoch == 1:
            self.note(table_header())
        self.note(table_row(row))

    def steps(self, items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
        """Iterate over `items` while showing how many of `total` are done."""
        del description, total
        yield from items

    @contextlib.contextmanager
    def counter(self, description: str) -> Iterator[Callable[[int, int], None]]:
        """Show how far something is that calls back, with the parts done and all there are."""
        del description
        yield lambda done, total: None

    @contextlib.contextmanager
    def download(self, name: str) -> Iterator[DownloadBar]:
        """Show the download of one file."""
        del name
        yield _SilentBar()


class TerminalProgress(Progress):
    """Lines on stderr, and bars that vanish when done where stderr is a terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)

    def note(self, text: str) -> None:
        """Print the line."""
        print_line(self._console, text)

    def steps(self, items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
        """Iterate with a bar; where stderr is no terminal, with a line every ten seconds."""
        if not self._console.is_terminal:
            yield from self._plain_steps(items, description, total)
            return
        with self._bars(*_STEP_COLUMNS) as bars:
            yield from bars.track(items, total=total, description=description)

    @contextlib.contextmanager
    def counter(self, description: str) -> Iterator[Callable[[int, int], None]]:
        """A bar; where stderr is no terminal, a line every ten seconds."""
        if not self._console.is_terminal:
            yield _PlainCounter(description, self.note)
            return
        with self._bars(*_STEP_COLUMNS) as bars:
            task = bars.add_task(description, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)

    def _plain_steps(self, items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
        report = _PlainCounter(description, self.note)
        for done, item in enumerate(items, start=1):
            yield item
            report(done, total)

    @contextlib.contextmanager
    def download(self, name: str) -> Iterator[DownloadBar]:
        """Show bytes, rate and remaining time."""
        self.note(f"Downloading {name}")
        columns = (_TEXT, BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with self._bars(*columns) as bars:
            yield _RichBar(bars, bars.add_task(name, total=None))

    def _bars(self, *columns: ProgressColumn) -> RichProgress:
        return RichProgress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)


class _PlainCounter:
    """Tells a log every ten seconds how far something is."""

    def __init__(self, description: str, note: Callable[[str], None]) -> None:
        self._description, self._note = description, note
        self._started = self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told < PLAIN_INTERVAL_S:
            return
        self._told = now
        left = f", about {(now - self._started) * (total - done) / done:.0f} s left" if done else ""
        self._note(f"{self._description}: {done} of {total}{left}")


class _SilentBar:
    total: float = 0

    def update(self, amount: int) -> None: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...


class _RichBar:
    """pooch's idea of a progress bar, on one of rich's."""

    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars, self._task = bars, task
        self.total: float = 0

    def update(self, amount: int) -> None:
        self._bars.update(self._task, total=self.total, advance=amount)

    def reset(self) -> None:
        self._bars.reset(self._task)

    def close(self) -> None: ...
