"""Paths of images, on this machine or in an object store, and what is in those of a store."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeGuard
from urllib.parse import quote

from tl_infer.errors import ImageError, InputPathError, first_line
from tl_infer.limits import Limits
from tl_infer.system.finding import find_files
from tl_infer.system.parallel import ordered_map

_WAITING: Final = 16  # files that are read at a time
_PLAIN: Final = "/!$&'()*+,;=:@"  # besides letters, digits and `-._~`: RFC 3986, 3.3


def is_remote(path: object) -> TypeGuard[str]:
    """Whether it is a URI, as `s3://bucket/photo.jpg`."""
    return isinstance(path, str) and "://" in path


def list_images(source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """The files that paths and URIs name: a folder is all files below it.

    Raises:
        InputPathError: a path that names nothing, or a folder without files.

    """
    given = [source] if isinstance(source, str | os.PathLike) else source
    return [found for path in given for found in _found(os.fspath(path))]


def _found(path: str) -> Iterator[str]:
    """The files that a path or URI names."""
    if not is_remote(path):
        yield from map(str, find_files([path]))
        return
    from pyarrow import fs

    try:
        files, name = fs.FileSystem.from_uri(path)
        info = files.get_file_info(name)
        if info.type == fs.FileType.File:
            yield path
            return
        below = files.get_file_info(fs.FileSelector(name, recursive=True))
    except (OSError, ValueError) as error:
        raise InputPathError(f"{path}: cannot be listed: {first_line(error)}") from error
    names = sorted(each.path for each in below if each.type == fs.FileType.File)
    if not names:
        raise InputPathError(f"{path}: no files there; expected images")
    place, mark, options = path.partition("?")
    for each in names:
        # A file may be called `a%20b.jpg`, which in a URI is the name of `a b.jpg`.
        below_it = quote(each.removeprefix(name.rstrip("/")), _PLAIN)
        yield f"{place.rstrip('/')}{below_it}{mark}{options}"


def fetched(sources: Sequence[bytes | str], limits: Limits) -> Iterable[bytes | str | ImageError]:
    """The sources; those in an object store as their bytes, read ahead, or why they cannot be had."""
    if not any(map(is_remote, sources)):
        return sources
    return ordered_map(lambda each: _fetch(each, limits) if is_remote(each) else each, sources, _WAITING)


def _fetch(uri: str, limits: Limits) -> bytes | ImageError:
    from pyarrow import fs

    try:
        files, name = fs.FileSystem.from_uri(uri)
        with files.open_input_file(name) as file:
            if file.size() > limits.max_file_bytes:
                reason = f"cannot be read: {file.size()} bytes, the limit is {limits.max_file_bytes}"
                return ImageError(uri, reason)
            data: bytes = file.read()
    except (OSError, ValueError) as error:
        return ImageError(uri, f"cannot be read: {first_line(error)}")
    return data
