"""Which files to classify: what the arguments and standard input name."""

import collections
import dataclasses
import glob
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path

from tl_infer.cli.options import STDIN
from tl_infer.errors import InputPathError, first_line
from tl_infer.system.finding import files_of, natural_key, skipper

_CHUNK_BYTES = 1 << 16
_MAX_PATH_BYTES = 1 << 16  # systems allow 4096 at most


@dataclasses.dataclass(frozen=True, slots=True)
class Inputs:
    """Files in the order of the arguments, found as they are asked for, never all at once.

    Attributes:
        arguments: a file, a folder (all files below it), a shell pattern if no such file exists, or `-` for paths on
            standard input, one file each, which are not looked at before they are opened.
        nul: the paths on standard input are separated by NUL instead of newlines.
        skip: real paths of files and folders to leave out below a folder and among what a pattern matches.

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

    def files(self, is_wanted: Callable[[Path], bool]) -> "Files":
        """The files that are wanted, in order."""
        return Files(map(self._source, self.arguments), is_wanted)

    def _source(self, argument: str) -> "Iterator[Path] | PathStream":
        return PathStream(0, b"\0" if self.nul else b"\n") if argument == STDIN else self._named(argument)

    def _named(self, argument: str) -> Iterator[Path]:
        if os.path.lexists(argument) or not glob.has_magic(argument):
            yield from files_of(Path(argument), self.skip)
            return
        matches = _matches(argument, self.skip)
        if not matches:
            raise InputPathError(f"{argument}: no such file or folder, and nothing matches this pattern")
        for match in matches:
            yield from files_of(match, self.skip)


class Files(Iterator[Path]):
    """Files from several sources one after the other; those of standard input may be long in coming."""

    def __init__(self, sources: "Iterator[Iterator[Path] | PathStream]", is_wanted: Callable[[Path], bool]) -> None:
        self._sources, self._is_wanted = sources, is_wanted
        self._source: Iterator[Path] | PathStream = iter(())
        self._found: Path | None = None

    def __next__(self) -> Path:
        while (found := self._next_found()) is None:
            pass
        self._found = None
        return found

    def ready(self) -> bool:
        """Whether the next file is known, or known to be none, without waiting for standard input."""
        while not isinstance(self._source, PathStream) or self._source.ready():
            try:
                if self._next_found() is not None:
                    return True
            except StopIteration:
                return True
        return self._found is not None

    def _next_found(self) -> Path | None:
        """Look at one more file, unless one is found already; None if it is not wanted, or a source has ended."""
        if self._found is None:
            path = next(self._source, None)
            if path is None:
                self._source = next(self._sources)
            elif self._is_wanted(path):
                self._found = path
        return self._found


class PathStream(Iterator[Path]):
    """Paths from a descriptor, each as soon as it arrives; empty ones are ignored.

    Raises:
        InputPathError: it cannot be read, or has more bytes without a separator than any path has.

    """

    def __init__(self, descriptor: int, separator: bytes) -> None:
        self._descriptor, self._separator = descriptor, separator
        self._paths: collections.deque[Path] = collections.deque()
        self._rest = b""
        self._ended = False

    def __next__(self) -> Path:
        while not self._paths and not self._ended:
            self._read()
        if not self._paths:
            raise StopIteration
        return self._paths.popleft()

    def ready(self) -> bool:
        """Whether the next path is there, or the end, without waiting."""
        while not self._paths and not self._ended and self._has_bytes():
            self._read()
        return bool(self._paths) or self._ended

    def _has_bytes(self) -> bool:
        try:
            return bool(select.select([self._descriptor], [], [], 0)[0])
        except (OSError, ValueError):  # Windows knows this of sockets only; reading tells what else is wrong
            return True

    def _read(self) -> None:
        try:
            chunk = os.read(self._descriptor, _CHUNK_BYTES)
        except BlockingIOError:  # somebody made it non-blocking
            select.select([self._descriptor], [], [])
            return
        except OSError as error:
            raise InputPathError(f"standard input: cannot be read: {first_line(error)}") from error
        *lines, self._rest = (self._rest + chunk).split(self._separator)
        if not chunk:
            self._ended = True
            lines, self._rest = [self._rest], b""
        self._paths.extend(Path(os.fsdecode(line)) for line in lines if line)
        if len(self._rest) > _MAX_PATH_BYTES:
            is_lines = self._separator == b"\n"
            remedy = "if they are separated by NUL, add -0" if is_lines else "-0 expects NUL between paths"
            raise InputPathError(f"standard input: no end of a path in {len(self._rest)} bytes; {remedy}")


def _matches(pattern: str, skip: frozenset[str]) -> list[Path]:
    """What matches a pattern, in natural order; with `**` files only, because folders would repeat their files."""
    is_skipped = skipper(skip)
    names = (name for name in glob.iglob(pattern, recursive=True) if not is_skipped(name))  # noqa: PTH207 - absolute too
    found: Iterator[Path] = map(Path, names)
    if "**" in Path(pattern).parts:
        found = (path for path in found if not path.is_dir())
    return sorted(found, key=lambda path: [natural_key(part) for part in path.parts])
