"""Whole-file writes: what we write is complete or not there at all. Reads: regular files of bounded size only."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader, FileIO
from pathlib import Path
from typing import BinaryIO

from tl_infer.errors import OutputPathError, TlError, first_line
from tl_infer.system.temporaries import create_temporary, lock

MAX_TEXT_BYTES = 50_000_000  # of a document: a recipe, a configuration, what was measured


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; it replaces `path` when the block ends without an error.

    The data is flushed to disk before the name changes, so a crash leaves the old file or the new one, never a part of
    either. If the block raises, the temporary file is removed and `path` stays as it was.

    Raises:
        OutputPathError: the folder does not exist, is not writable, or the disk is full.

    """
    target = Path(os.path.realpath(path))  # a link stays; the file it points to is replaced
    temporary = None
    try:
        if target.exists() and not target.is_dir():  # renaming over a device would take its place
            _check_regular(target.stat(), target)
        temporary, file = create_temporary(target.parent)
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if os.name == "nt":
                file.close()
            temporary.replace(target)  # while it is locked: nobody takes it for a left one
        _sync_folder(target.parent)
    except OSError as error:
        if isinstance(error, TlError):  # the block's own error, already worded for the user
            raise
        raise OutputPathError(f"{target}: cannot be written: {first_line(error)}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def read_bytes(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """The whole content of a regular file that a user named.

    Raises:
        OSError, ValueError: as `open_regular`.

    """
    parts, size = [], 0
    with open_regular(path, max_bytes) as file:
        # As much at once as there is, because `read` takes memory for all that it is asked for.
        step = max(os.fstat(file.fileno()).st_size + 1, 1 << 16)
        while part := file.read(step):
            parts.append(part)
            size += len(part)
            if size > max_bytes:  # it grew, or its size is not told, as in /proc
                raise _too_large(path, size, max_bytes)
    return b"".join(parts)


def read_text(path: str | os.PathLike[str], max_bytes: int = MAX_TEXT_BYTES) -> str:
    """The whole content of a regular file that a user named, as UTF-8 with or without a byte order mark.

    Raises:
        OSError: as `open_regular`.
        ValueError: as `open_regular`, or the file is not UTF-8.

    """
    return read_bytes(path, max_bytes).decode("utf-8-sig")


def open_regular(path: str | os.PathLike[str], max_bytes: int | None = None) -> BufferedReader:
    """Open a regular file for reading; links are followed.

    A FIFO would make the reader wait for ever, and opening a device can do things by itself.

    Args:
        path: of the file.
        max_bytes: refuse a larger file.

    Raises:
        OSError: not there, not readable, a loop of links, not a regular file, or too large.
        ValueError: a name that no file can have.

    """
    _check_regular(Path(path).stat(), path)
    # It may have been replaced since, so opening must not block, and what was opened is checked again.
    flags = ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")
    descriptor = os.open(path, os.O_RDONLY | sum(getattr(os, flag, 0) for flag in flags))
    try:
        status = os.fstat(descriptor)
        _check_regular(status, path)
        if max_bytes is not None and status.st_size > max_bytes:
            raise _too_large(path, status.st_size, max_bytes)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _too_large(path: str | os.PathLike[str], size_bytes: int, max_bytes: int) -> OSError:
    return OSError(errno.EFBIG, f"{size_bytes} bytes, the limit is {max_bytes}", os.fspath(path))


def _check_regular(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))


def open_to_append(path: str | os.PathLike[str]) -> FileIO:
    """Open a file for appending, creating it if needed; no other process can open it this way meanwhile.

    For rows that must survive a killed process; everything else is written by `replacing`. Nothing is buffered: what
    a full disk did not take must not be tried again while the file is closed.

    Raises:
        OutputPathError: it cannot be written, is a link or not a regular file, or another process has it open.

    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    flags |= sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
    try:
        file = FileIO(os.open(path, flags, 0o666), "ab+")
    except OSError as error:
        raise OutputPathError(f"{path}: cannot be written: {first_line(error)}") from error
    try:
        _check_regular(os.fstat(file.fileno()), path)
        lock(file)
        if not _is_named(file, path):  # whoever had it locked has renamed it meanwhile
            raise BlockingIOError
    except OSError as error:
        file.close()
        reason = "another program is writing to it" if isinstance(error, BlockingIOError) else first_line(error)
        raise OutputPathError(f"{path}: cannot be written: {reason}") from error
    return file


def _is_named(file: FileIO, path: str | os.PathLike[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), Path(path).lstat())
    except FileNotFoundError:
        return False


def write_all(file: FileIO, data: bytes) -> None:
    """Write all of `data` to a file that is not buffered.

    Raises:
        OSError: not all of it was written.

    """
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def make_folder(path: str | os.PathLike[str], *, parents: bool = True) -> None:
    """Make a folder unless it is there, and with `parents` those around it.

    Raises:
        OutputPathError: it cannot be made.

    """
    try:
        Path(path).mkdir(parents=parents, exist_ok=True)
    except FileExistsError as error:
        raise OutputPathError(f"{path}: found a file, expected a folder or a new name") from error
    except FileNotFoundError as error:  # only without `parents`
        raise OutputPathError(f"{path}: the folder {Path(path).parent} does not exist; make it first") from error
    except OSError as error:
        raise OutputPathError(f"{path}: cannot be created: {first_line(error)}") from error


def try_folder(path: str | os.PathLike[str]) -> None:
    """Say early that a folder cannot be written to, where that would only show after minutes of work.

    Raises:
        OutputPathError: no file can be made in it.

    """
    try:
        temporary, file = create_temporary(Path(path))
        with file:
            temporary.unlink()
    except OSError as error:
        raise OutputPathError(f"{path}: cannot be written to: {first_line(error)}") from error


def hold_folder(path: str | os.PathLike[str]) -> contextlib.ExitStack:
    """Keep other processes from holding a folder until what is returned is closed, as a `with` block does.

    Raises:
        BlockingIOError: another one holds it.

    """
    held = contextlib.ExitStack()
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # closed to us, or folders cannot be opened here: who writes to it will be told
        return held
    held.callback(os.close, descriptor)
    try:
        lock(descriptor)
    except BlockingIOError:
        held.close()
        raise
    return held


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a whole file; see `replacing`.

    Raises:
        OutputPathError: the file cannot be written.

    """
    with replacing(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a whole file as UTF-8; file names that are not valid Unicode are written with escapes.

    Raises:
        OutputPathError: the file cannot be written.

    """
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def _sync_folder(folder: Path) -> None:
    """Flush the new name to disk too; some file systems refuse, and then the rename must do."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
