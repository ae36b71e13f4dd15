"""`--out`: the file of rows, and continuing one that is not finished.

Rows go to `NAME.partial` one by one and stay there if the process is killed; at the end, or after Ctrl-C, that file
replaces `NAME`. `NAME.run.json` says what the rows depend on, so that rows of other settings are never mixed in;
`NAME.partial.run.json` is there from before the first row of a run until `NAME.partial` has its name.
`NAME.partial.journal` says which file is being moved, copied, linked or drawn for the next row.
"""

import contextlib
import dataclasses
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from tl_infer.cli.output.earlier import Earlier, parse_row, read_earlier
from tl_infer.cli.output.formats import Columns, row_formatter
from tl_infer.cli.output.journal import Intent, Journal, settle
from tl_infer.cli.output.rows import Row
from tl_infer.errors import OutputPathError, TlError, first_line
from tl_infer.system.files import open_regular, open_to_append, read_text, write_all, write_text
from tl_infer.system.temporaries import remove_stale

Settings = Mapping[str, object]

_ENDS = (".partial", ".partial.run.json", ".partial.journal", ".run.json")


@dataclasses.dataclass(frozen=True, slots=True)
class OutFile:
    """An open file of rows.

    Attributes:
        intend: takes what is about to be made for the next row.
        write: takes the next row.
        earlier: the rows that were there before.

    """

    intend: Callable[[Intent], None]
    write: Callable[[Row], None]
    earlier: Earlier


def companions(out: Path) -> tuple[Path, ...]:
    """`out` itself and the files that may be beside it because of it."""
    target = Path(os.path.realpath(out))
    return (out, target, *(_beside(target, end) for end in _ENDS))


@contextlib.contextmanager
def open_out(
    out: Path, columns: Columns, settings: Settings, *, resume: bool = False, overwrite: bool = False
) -> Iterator[OutFile]:
    """Open a file for rows: whole under its name when the block ends; if it raises, the rows stay in `NAME.partial`.

    Args:
        out: ends in `.csv` or `.jsonl`.
        columns: what a row holds.
        settings: what the rows depend on, as plain JSON values.
        resume: continue the rows that are there.
        overwrite: replace the rows that are there.

    Raises:
        OutputPathError: there are rows and neither option is given; they depend on something else, or are not ours;
            the file cannot be written.

    """
    target = Path(os.path.realpath(out))
    partial = _beside(target, ".partial")
    header, line_of = row_formatter(out, columns)
    if not target.parent.is_dir():
        raise OutputPathError(f"{out}: cannot be written: No such file or directory: {target.parent}")
    if not resume:
        _refuse_existing(out, partial, overwrite)
    remove_stale(target.parent)
    journal = Journal(_beside(partial, ".journal"), line_of)
    told = json.dumps(settings, ensure_ascii=False, indent=2) + "\n"
    with open_to_append(partial) as file, contextlib.closing(journal):
        try:
            earlier = Earlier()
            if resume:
                earlier = _earlier(_source(target, file, partial, header), target, file, columns, settings)
            else:  # only now, as another run had them until the file was ours
                _beside(partial, ".journal").unlink(missing_ok=True)
                _beside(partial, ".run.json").unlink(missing_ok=True)
            _begin(file, earlier, header)
            if resume:
                _settle(file, _beside(partial, ".journal"), earlier, columns)
            write_text(_beside(partial, ".run.json"), told)

            def write(row: Row) -> None:
                write_all(file, line_of(row).encode())
                journal.clear()

            yield OutFile(journal.intend, write, earlier)
            os.fsync(file.fileno())
            # A kill between any two of these leaves rows with what they depend on.
            write_text(_beside(target, ".run.json"), told)
            partial.replace(target)
            _beside(partial, ".run.json").unlink(missing_ok=True)
        except BaseException as error:
            if os.fstat(file.fileno()).st_size <= len(header.encode()) and not journal.has_entry:
                _beside(partial, ".run.json").unlink(missing_ok=True)
                partial.unlink(missing_ok=True)
            if isinstance(error, OSError) and not isinstance(error, TlError):
                raise OutputPathError(f"{partial}: cannot be written: {first_line(error)}") from error
            raise


def _begin(file: FileIO, earlier: Earlier, header: str) -> None:
    """Cut off an unfinished last row, and write the header if nothing is left."""
    file.truncate(earlier.length)
    if not earlier.length:
        write_all(file, header.encode())
        earlier.length = len(header.encode())


def _settle(file: FileIO, journal: Path, earlier: Earlier, columns: Columns) -> None:
    """Write the row whose file a killed run had put into its place already."""
    line = settle(journal)
    if line is not None:
        data = line.encode()
        file.seek(max(0, earlier.length - len(data)))
        if file.read(len(data)) != data:
            write_all(file, data)
            earlier.add(parse_row(line, columns, earlier.suffix))
    journal.unlink(missing_ok=True)


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _refuse_existing(out: Path, partial: Path, overwrite: bool) -> None:
    if overwrite:
        return
    if out.exists():
        raise OutputPathError(
            f"{out}: already exists; choose another name, continue it with --resume, or replace it with --overwrite"
        )
    if partial.exists():
        raise OutputPathError(
            f"{partial}: has the rows of an interrupted run; continue it with --resume, or replace it with --overwrite"
        )


def _source(target: Path, file: FileIO, partial: Path, header: str) -> Path:
    """Which of the two has the rows to continue."""
    size = os.fstat(file.fileno()).st_size
    if size and (_beside(partial, ".run.json").exists() or not _has_only_begun(file, target, header)):
        return partial
    # What an earlier run left, or it would say of a copy that is cut off that it is whole.
    _beside(partial, ".run.json").unlink(missing_ok=True)
    file.truncate(0)
    return target


def _has_only_begun(file: FileIO, target: Path, header: str) -> bool:
    """Whether a run was killed before it had rows of its own: in its header, or while it copied those of `target`."""
    if _begins(io.BytesIO(header.encode()), file):
        return True
    try:
        with open_regular(target) as whole:
            return _begins(whole, file)
    except OSError:
        return False


def _begins(whole: BinaryIO, file: FileIO) -> bool:
    """Whether `whole` begins with all of `file`."""
    file.seek(0)
    return all(whole.read(len(part)) == part for part in iter(lambda: file.read(1 << 20), b""))


def _earlier(source: Path, target: Path, file: FileIO, columns: Columns, settings: Settings) -> Earlier:
    """The rows to continue, which are in `file` afterwards."""
    if not source.exists():
        return Earlier(suffix=target.suffix.lower())
    _check_settings(source, settings)
    earlier = read_earlier(source, columns)
    if source == target:
        with open_regular(target) as rows:
            for part in iter(lambda: rows.read(1 << 20), b""):
                write_all(file, part)
    return earlier


def _check_settings(source: Path, settings: Settings) -> None:
    """Refuse to mix rows that depend on different things."""
    told = _beside(source, ".run.json")
    try:
        before = json.loads(read_text(told))
    except (OSError, ValueError, RecursionError) as error:
        raise OutputPathError(
            f"{told}: cannot be read, so nothing says how the rows of {source.name} were made; "
            "start over with --overwrite"
        ) from error
    now = json.loads(json.dumps(settings))
    for name in now:
        found = before.get(name) if isinstance(before, dict) else None
        if found != now[name]:
            raise OutputPathError(
                f"{source}: its rows were made with {name} {json.dumps(found)}, now it is {json.dumps(now[name])}; "
                "give the same model and options, or start over with --overwrite"
            )
