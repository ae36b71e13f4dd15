"""Putting files into folders: whole, under a free name, and nothing lost on the way."""

import contextlib
import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tl_infer.cli.options import Mode
from tl_infer.errors import OutputPathError
from tl_infer.system.files import open_regular
from tl_infer.system.temporaries import create_temporary

# What the next file would fail on as well.
_HOPELESS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO))
_NO_HARD_LINKS = frozenset((errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS))

_MAX_NAME_BYTES = 255  # of the usual file systems

Intend = Callable[[Path], None]


class Placer:
    """Puts files into folders; a name that is taken gets a number, as in `photo-2.jpg`."""

    def __init__(self) -> None:
        self._next: dict[Path, int] = {}

    def place(self, source: Path, folder: Path, mode: Mode, intend: Intend) -> Path:
        """Copy, move or link a file into a folder, which must be there.

        Args:
            source: the file; a link is followed to copy it, and moved as a link.
            folder: where to.
            mode: `link` makes a symbolic link to the absolute path.
            intend: takes the name that the new file is to have, before anything is done.

        Returns:
            The new file.

        Raises:
            OSError: the file cannot be read, copied or taken away; then nothing has changed.
            OutputPathError: the disk is full or read-only, or fails.

        """
        action = {"copy": _copy, "move": _move, "link": _link}[mode]
        return self._free(folder / source.name, lambda target: action(source, target), intend)

    def write(self, data: bytes, target: Path, intend: Intend) -> Path:
        """Write a file; its name may be taken already, or too long.

        Raises:
            OSError, OutputPathError: as `place`.

        """
        return self._free(target, lambda free: _write(data, free), intend)

    def _free(self, wanted: Path, make: Callable[[Path], None], intend: Intend) -> Path:
        """Call `make` with the first name that is free; it raises FileExistsError if the name is taken."""
        for number in itertools.count(self._next.get(wanted, 1)):
            target = _numbered(wanted, number)
            if os.path.lexists(target):  # otherwise only a whole copy would show it
                continue
            intend(target)
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


def is_placed(source: Path, target: Path, mode: Mode) -> bool:
    """Whether `target` is what `place` makes of `source`, which a move may have taken away already."""
    if not os.path.lexists(target):
        return False
    if mode == "link" or target.is_symlink():
        wanted = source.absolute() if mode == "link" else Path(os.path.realpath(source))
        return target.is_symlink() and target.readlink() == wanted
    if not os.path.lexists(source):
        return mode == "move"
    import filecmp  # here, because most runs compare nothing

    return target.samefile(source) or filecmp.cmp(source, target, shallow=False)


def with_end(stem: str, end: str) -> str:
    """A file name of the two; the stem is cut where the name would be longer than a name may be."""
    while len(os.fsencode(stem + end)) > _MAX_NAME_BYTES and len(stem) > 1:
        stem = stem[:-1]
    return stem + end


def _numbered(wanted: Path, number: int) -> Path:
    end = wanted.suffix if number == 1 else f"-{number}{wanted.suffix}"
    return wanted.with_name(with_end(wanted.stem, end))


def _copy(source: Path, target: Path) -> None:
    import shutil  # here, because most runs copy nothing

    with open_regular(source) as file, _new_file(target) as (temporary, copy):
        shutil.copyfileobj(file, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())
        status = os.fstat(file.fileno())
        os.utime(temporary, ns=(status.st_atime_ns, status.st_mtime_ns))


def _write(data: bytes, target: Path) -> None:
    with _new_file(target) as (_, file):
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
def _new_file(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A temporary file beside `target`; it is renamed at the end, if `target` is still free.

    Raises:
        FileExistsError: it is not.

    """
    temporary, file = create_temporary(target.parent)
    try:
        with file:
            yield temporary, file
            file.flush()
            _take_name(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _take_name(temporary: Path, target: Path) -> None:
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        temporary.replace(target)
