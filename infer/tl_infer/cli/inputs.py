"""Which files to classify: what the arguments and standard input name."""

import dataclasses
import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tl_infer.errors import InputPathError
from tl_infer.system.finding import files_of, natural_key

STDIN = "-"

_CHUNK_BYTES = 1 << 16
_MAX_PATH_BYTES = 1 << 16  # systems allow 4096 at most


@dataclasses.dataclass(frozen=True, slots=True)
class Inputs:
    """Files in the order of the arguments, found as they are asked for, never all at once.

    Attributes:
        arguments: a file, a folder (all files below it), a shell pattern if no such file exists, or `-` for paths on
            standard input, one file each, which are not looked at before they are opened.
        nul: the paths on standard input are separated by NUL instead of newlines.
        skip: real paths of files and folders to leave out below a folder.

    """

    arguments: tuple[str, ...]
    nul: bool = False
    skip: frozenset[str] = frozenset()

    def count(self) -> int | None:
        """How many files there are; None if standard input names them.

        Raises:
            InputPathError: an argument that names nothing, or a folder that cannot be listed or holds no file.

        """
        found = sum(1 for argument in self.arguments if argument != STDIN for _ in self._named(argument))
        return None if STDIN in self.arguments else found

    def __iter__(self) -> Iterator[Path]:
        for argument in self.arguments:
            if argument == STDIN:
                yield from read_paths(sys.stdin.buffer, b"\0" if self.nul else b"\n")
            else:
                yield from self._named(argument)

    def _named(self, argument: str) -> Iterator[Path]:
        if os.path.lexists(argument) or not glob.has_magic(argument):
            yield from files_of(Path(argument), self.skip)
            return
        matches = _matches(argument)
        if not matches:
            raise InputPathError(f"{argument}: no such file or folder, and nothing matches this pattern")
        for match in matches:
            yield from files_of(match, self.skip)


def is_one_file(arguments: Sequence[str]) -> bool:
    """Whether the arguments name a single file; quick to find out."""
    return len(arguments) == 1 and arguments[0] != STDIN and os.path.isfile(arguments[0])  # noqa: PTH113


def read_paths(stream: BinaryIO, separator: bytes) -> Iterator[Path]:
    """Paths from a stream, each as soon as it arrives; empty ones are ignored.

    Raises:
        InputPathError: more bytes without a separator than any path has.

    """
    rest = b""
    while chunk := stream.read1(_CHUNK_BYTES) if hasattr(stream, "read1") else stream.read(_CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(separator)
        yield from (Path(os.fsdecode(line)) for line in lines if line)
        if len(rest) > _MAX_PATH_BYTES:
            remedy = "if they are separated by NUL, add -0" if separator == b"\n" else "-0 expects NUL between paths"
            raise InputPathError(f"standard input: no end of a path in {len(rest)} bytes; {remedy}")
    if rest:
        yield Path(os.fsdecode(rest))


def _matches(pattern: str) -> list[Path]:
    """What matches a pattern, in natural order; with `**` files only, because folders would repeat their files."""
    found: Iterator[Path] = map(Path, glob.iglob(pattern, recursive=True))  # noqa: PTH207 - absolute too
    if "**" in Path(pattern).parts:
        found = (path for path in found if not path.is_dir())
    return sorted(found, key=lambda path: [natural_key(part) for part in path.parts])
