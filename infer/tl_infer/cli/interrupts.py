"""Ctrl-C and SIGTERM between two files, never in the middle of one."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from tl_infer.cli.signals import after_imports, handle


class Stopped(BaseException):
    """The program was asked to stop.

    Attributes:
        signal: SIGINT or SIGTERM.

    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


class Interrupts:
    """SIGINT and SIGTERM as `Stopped`, raised at once, or at the end of a `whole` block."""

    def __init__(self) -> None:
        self._whole = False
        self._stopping = False
        self._waiting: int | None = None

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Handle the signals while the block runs; only in the main thread of a program."""
        before = handle(after_imports(self._handle))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """A block that a signal does not interrupt."""
        self._whole = True
        try:
            yield
        finally:
            self._whole = False
        if self._waiting is not None:
            self._stop(self._waiting)

    def finishing(self) -> None:
        """From now on a signal changes nothing: the work is done, and what is left must not end half way."""
        self._stopping = True

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._whole:
            self._waiting = number
        else:
            self._stop(number)

    def _stop(self, number: int) -> None:
        """Raise once; a second Ctrl-C must not interrupt the way out."""
        if not self._stopping:
            self._stopping = True
            raise Stopped(number)
