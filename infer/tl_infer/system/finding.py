"""Finding image files: what a path names, in natural order."""

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tl_infer.errors import InputPathError, first_line


def find_files(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files named by `paths`: a file is itself, a folder is all files below it.

    Files keep the order given; inside a folder the order is natural (`img2` before `img10`), sub-folders after
    the files beside them. Names that begin with a dot are skipped inside folders. A folder that links lead to twice is
    read once.

    Raises:
        InputPathError: a path that does not exist, or a folder that cannot be listed or holds no file.

    """
    return [file for path in paths for file in files_of(Path(path))]


def files_of(path: Path, skip: frozenset[str] = frozenset()) -> Iterator[Path]:
    """The files that one path names, in the order of `find_files`; folders are read as files are asked for.

    Args:
        path: a file or folder.
        skip: real paths (`os.path.realpath`) of files and folders to leave out below a folder.

    Raises:
        InputPathError: as `find_files`, at the first file or later.

    """
    try:
        is_folder = stat.S_ISDIR(path.lstat().st_mode) or path.is_dir()
    except FileNotFoundError as error:
        raise InputPathError(f"{path}: no such file or folder") from error
    except OSError as error:
        raise InputPathError(f"{path}: cannot be read: {first_line(error)}") from error
    if not is_folder:
        yield path
        return
    files = _walk(path, set(), skip)
    first = next(files, None)
    if first is None:
        raise InputPathError(f"{path}: the folder has no files; expected images")
    yield first
    yield from files


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, in the order of `find_files`; possibly none.

    Raises:
        InputPathError: the folder or one below it cannot be listed.

    """
    return list(_walk(folder, set(), frozenset()))


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sort key that puts `img2` before `img10`; the name itself breaks ties (`a1`, `a01`)."""
    parts = re.split(r"([0-9]+)", name)
    # Odd positions are the digit runs, so equal positions always hold equal types.
    return tuple(int(part) if i % 2 else part.casefold() for i, part in enumerate(parts)), name


def skipper(skip: frozenset[str]) -> Callable[[str], bool]:
    """What says of a path whether its real path is in `skip`; a link of another name is not followed."""
    names = frozenset(map(os.path.basename, skip))  # so that few real paths have to be looked up
    return lambda path: os.path.basename(path) in names and os.path.realpath(path) in skip  # noqa: PTH119 - is quick


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; links to themselves are not, and opening them will fail."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _walk(folder: Path, seen: set[tuple[int, int]], skip: frozenset[str]) -> Iterator[Path]:
    try:
        status = folder.stat()
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        raise InputPathError(f"{folder}: cannot be listed: {first_line(error)}") from error
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        return
    seen.add(identity)
    is_skipped = skipper(skip)
    entries = [entry for entry in entries if not is_skipped(entry.path)]
    folders = {entry.name for entry in entries if is_folder(entry)}
    ordered = sorted((entry.name for entry in entries), key=natural_key)
    del entries  # a million of them would stay in memory until the last file is done
    for name in ordered:
        if name not in folders:
            yield folder / name
    for name in ordered:
        if name in folders:
            yield from _walk(folder / name, seen, skip)
