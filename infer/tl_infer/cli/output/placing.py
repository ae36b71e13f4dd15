"""Putting files into folders: whole, under a free name, and nothing lost on the way."""

import contextlib
import errno
import itertools
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from tl_infer.errors import OutputPathError
from tl_infer.system.files import open_regular

Mode = Literal["copy", "move", "link"]

# What the next file would fail on as well.
_HOPELESS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO))
_NO_HARD_LINKS = frozenset((errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS))


class Placer:
    """Puts files into folders; a name that is taken gets a number, as in `photo-2.jpg`."""

    def __init__(self) -> None:
        self._next: dict[Path, int] = {}

    def place(self, source: Path, folder: Path, mode: Mode) -> Path:
        """Copy, move or link a file into a folder, which must be there.

        Args:
            source: the file; a link is followed to copy it, and moved as a link.
            folder: where to.
            mode: `link` makes a symbolic link to the absolute path.

        Returns:
            The new file.

        Raises:
            OSError: the file cannot be read, copied or taken away; then nothing has changed.
            OutputPathError: the disk is full or read-only, or fails.

        """
        action = {"copy": _copy, "move": _move, "link": _link}[mode]
        return self._free(folder / source.name, lambda target: action(source, target))

    def write(self, data: bytes, target: Path) -> Path:
        """Write a file; its name may be taken already.

        Raises:
            OSError, OutputPathError: as `place`.

        """
        return self._free(target, lambda free: _write(data, free))

    def _free(self, wanted: Path, make: Callable[[Path], None]) -> Path:
        """Call `make` with the first name that is free; it raises FileExistsError if the name is taken."""
        for number in itertools.count(self._next.get(wanted, 1)):
            target = wanted if number == 1 else wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
            if os.path.lexists(target):  # otherwise only a whole copy would show it
                continue
            try:
                make(target)
            except FileExistsError:
                continue
            except OSError as error:
                if error.errno in _HOPELESS:
                    raise OutputPathError(f"{target}: cannot be written: {error.strerror}") from error
                raise
            self._next[wanted] = number + 1
            return target
        raise AssertionError("count never ends")


def _copy(source: Path, target: Path) -> None:
    with open_regular(source) as file, _new_file(target) as temporary:
        with temporary.open("xb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        status = os.fstat(file.fileno())
        os.utime(temporary, ns=(status.st_atime_ns, status.st_mtime_ns))


def _write(data: bytes, target: Path) -> None:
    with _new_file(target) as temporary, temporary.open("xb") as file:
        file.write(data)


def _link(source: Path, target: Path) -> None:
    target.symlink_to(source.absolute())


def _move(source: Path, target: Path) -> None:
    if source.is_symlink():
        target.symlink_to(os.path.realpath(source))  # a relative link would point elsewhere from there
    else:
        try:
            os.link(source, target)  # unlike a rename this never replaces a file
        except OSError as error:
            if error.errno != errno.EXDEV and error.errno not in _NO_HARD_LINKS:
                raise
            _copy(source, target)
    try:
        source.unlink()
    except OSError:
        target.unlink()
        raise


@contextlib.contextmanager
def _new_file(target: Path) -> Iterator[Path]:
    """A temporary name beside `target`; the file made under it is renamed at the end, if `target` is still free.

    Raises:
        FileExistsError: it is not.

    """
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        try:
            os.link(temporary, target)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
