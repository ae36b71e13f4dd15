"""The cache folder: things that take long to compute and can be computed again, each found by a key of its own.

Files are written whole under the name of their key, so any number of runs can share the folder: at worst two compute
the same. The oldest go when a folder grows beyond its limit.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from pathlib import Path

from tl_infer.errors import OutputPathError
from tl_infer.system.temporaries import remove_stale
from tl_train.downloads import cache_folder

# What a killed run left half-written; a living one finishes within this time.
_STALE_S = 24 * 3600


def key_of(**parts: object) -> str:
    """SHA-256 (hex) of everything that a cached file depends on: texts, numbers, and lists and dicts of these."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def cache_subfolder(name: str) -> Path:
    """The folder of that name in the cache folder, made where it is not there.

    Raises:
        OutputPathError: it cannot be made.

    """
    folder = cache_folder() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputPathError(
            f"{folder}: cannot be made: {error.strerror or error}; set TL_CACHE_DIR to a folder that can be written"
        ) from error
    return folder


def touch(path: Path) -> None:
    """Note that a file was used, so that it is not the oldest; one on a read-only disk stays as it is."""
    with contextlib.suppress(OSError):
        os.utime(path)


def make_room(folder: Path, needed_bytes: int, limit_bytes: int) -> None:
    """Remove the files of a folder that were not used for longest, until `needed_bytes` more keep it below its limit.

    A run that has such a file open goes on reading it.

    Raises:
        OutputPathError: the disk has less than `needed_bytes` left, after that.

    """
    remove_stale(folder)
    kept_bytes = 0
    for path, used_s, size_bytes in _newest_first(folder):
        unfinished = path.name.startswith(".")
        stale = unfinished and time.time() - used_s > _STALE_S
        if stale or (not unfinished and kept_bytes + size_bytes + needed_bytes > limit_bytes):
            with contextlib.suppress(OSError):  # another run was quicker, or it is nothing of ours
                path.unlink()
        else:
            kept_bytes += size_bytes
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise OutputPathError(
            f"{folder}: needs {megabytes(needed_bytes)}, but the disk has {megabytes(free_bytes)} left; make room or "
            "set TL_CACHE_DIR to a folder on another disk"
        )


def megabytes(size_bytes: int) -> str:
    """A size as people read it: `44 MB`, `2.2 GB`."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def _newest_first(folder: Path) -> list[tuple[Path, float, int]]:
    """The files with time of last use and size; another run may remove some meanwhile."""
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            found.append((path, status.st_mtime, status.st_size))
    return sorted(found, key=lambda entry: entry[1], reverse=True)
