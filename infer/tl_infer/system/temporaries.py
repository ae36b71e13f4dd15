"""Temporary files: known for ours by their names, locked while in use, and removed once their process was killed."""

import contextlib
import importlib.util
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

# Short and the same for every target, because a name of 255 bytes leaves no room for more.
_NAME = re.compile(r"\.tl-[0-9a-f]{16}\.tmp")

# Where a file system has no locks, a file that was not written to for so long is taken for a left one.
_STALE_S = 24 * 3600

_FOLDER_PREFIX = "tl-toolkit-"
_YOUNG_S = 10


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one of ours, in use or left by a killed process."""
    return _NAME.fullmatch(name) is not None


def create_temporary(folder: Path) -> tuple[Path, BinaryIO]:
    """A new file in a folder, open for writing; locked until it is closed.

    Raises:
        OSError: it cannot be created.

    """
    while True:
        path = folder / f".tl-{os.urandom(8).hex()}.tmp"
        # "x": never through a link that somebody else put there. The umask sets the mode, as for any new file.
        file = path.open("xb")
        lock(file)
        if path.exists():  # not removed by another process before it was locked
            return path, file
        file.close()


def remove_stale(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder; those in use stay."""
    with contextlib.suppress(OSError):
        names = [entry.name for entry in os.scandir(folder) if is_temporary(entry.name)]
        for name in names:
            with contextlib.suppress(OSError):
                _remove_if_stale(folder / name)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder in the system's place for temporary files, for this user alone; removed at the end.

    Those that killed processes of this user left are removed as well.
    """
    import shutil  # these here, because most runs do without
    import tempfile

    root = Path(tempfile.gettempdir())
    _remove_stale_folders(root)
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=root))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(descriptor)
        yield folder
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def lock(file: IO[bytes] | int) -> bool:
    """Keep other processes from locking a file until it is closed; False where there are no such locks.

    Raises:
        BlockingIOError: another process has locked it.

    """
    if not importlib.util.find_spec("fcntl"):  # Windows
        return False
    fcntl = importlib.import_module("fcntl")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # of this file system
        return False
    return True


def _remove_stale_folders(root: Path) -> None:
    with contextlib.suppress(OSError):
        for path in root.glob(f"{_FOLDER_PREFIX}*"):
            with contextlib.suppress(OSError):
                status = path.lstat()
                # A moment ago it may have been made and not locked yet.
                if status.st_uid == os.getuid() and time.time() - status.st_mtime > _YOUNG_S:
                    _remove_folder_if_stale(path)


def _remove_folder_if_stale(path: Path) -> None:
    import shutil

    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if lock(descriptor):
            shutil.rmtree(path)
    finally:
        os.close(descriptor)


def _remove_if_stale(path: Path) -> None:
    flags = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
    with os.fdopen(os.open(path, os.O_RDWR | sum(getattr(os, flag, 0) for flag in flags)), "r+b") as file:
        if lock(file) or time.time() - os.fstat(file.fileno()).st_mtime > _STALE_S:
            path.unlink()
