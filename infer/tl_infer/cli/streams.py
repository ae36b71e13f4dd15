"""Standard output and error of a program: full, closed, or with nobody who reads them."""

import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import click

from tl_infer.errors import TlError


class StreamError(TlError):
    """Standard output cannot be written: the disk is full, it is closed, or nobody reads it any more."""


def guard_streams() -> None:
    """Make failures of standard output a `StreamError`, told once, and those of standard error nothing at all.

    Messages that nobody can read must not end the work that they are about. Descriptors that are closed are taken by
    the null device, because the next file opened would get their numbers, and the messages of libraries.
    """
    for descriptor, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):  # reading 0, writing 1 is an error
        _occupy(descriptor, mode)
    sys.stdout = _guarded(sys.stdout, _Results(1, "w", closefd=False))
    sys.stderr = _guarded(sys.stderr, _Messages(2, "w", closefd=False))


@contextlib.contextmanager
def summary() -> Iterator[None]:
    """A block that prints about files which are written: not being able to print is no failure of the program."""
    try:
        yield
    except StreamError as error:
        click.echo(f"Warning: {error}; all files are written", err=True)


class _Results(io.FileIO):
    """Standard output: the first failure is an error, then all is thrown away, as the error has been told."""

    _failed = False

    def write(self, data: Any, /) -> int:
        if self._failed:
            return len(data)
        try:
            return _written(super().write, data, self)
        except OSError as error:
            self._failed = True
            raise StreamError(f"standard output: cannot be written: {error.strerror}") from error


class _Messages(io.FileIO):
    """Standard error."""

    def write(self, data: Any, /) -> int:
        with contextlib.suppress(OSError):
            return _written(super().write, data, self)
        return len(data)


def _written(write: Any, data: Any, file: io.FileIO) -> int:
    """Write to a stream that another program may have made non-blocking."""
    while (count := write(data)) is None:
        select.select([], [file], [])
    return int(count)


def _occupy(descriptor: int, mode: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, mode)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
        os.set_inheritable(descriptor, True)


def _guarded(stream: TextIO | None, raw: io.FileIO) -> TextIO:
    """The stream on its descriptor, written through `raw`; one that somebody has put elsewhere stays as it is."""
    if stream is not None:
        try:
            if stream.fileno() != raw.fileno():
                return stream
            stream.flush()
        except (OSError, ValueError):
            return stream
    # What this encoding has no sign for is escaped.
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace",
        newline="\n",
        line_buffering=raw.isatty() or raw.fileno() == 2,
    )
