"""`--out`: the file of rows, and going on with one that is not finished.

Rows go to `NAME.partial` one by one and stay there when the process is killed; at the end, or after Ctrl-C, that file
takes the place of `NAME`. `NAME.run.json` says what the rows depend on, so that nothing else is mixed with them.
"""

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from tl_infer.cli.earlier import Earlier, read_earlier
from tl_infer.cli.formats import Columns, row_formatter
from tl_infer.cli.rows import Row
from tl_infer.errors import OutputPathError, TlError, first_line
from tl_infer.system.files import open_to_append, write_text

Settings = Mapping[str, object]


@dataclasses.dataclass(frozen=True, slots=True)
class OutFile:
    """An opened file of rows.

    Attributes:
        write: takes the next row.
        earlier: the rows that were there before.

    """

    write: Callable[[Row], None]
    earlier: Earlier


def companions(out: Path) -> tuple[Path, ...]:
    """The files that may stand beside `out` because of it, and `out` itself."""
    target = Path(os.path.realpath(out))
    return (out, target, *(_beside(target, end) for end in (".partial", ".partial.run.json", ".run.json")))


@contextlib.contextmanager
def open_out(
    out: Path, columns: Columns, settings: Settings, *, resume: bool = False, overwrite: bool = False
) -> Iterator[OutFile]:
    """Open a file for rows; when the block ends without an error, it stands whole under its name.

    When the block raises, the rows so far stay in `NAME.partial`.

    Args:
        out: ends in `.csv` or `.jsonl`.
        columns: what a row tells.
        settings: what the rows depend on, as JSON has it.
        resume: go on with the rows that are there.
        overwrite: begin anew where rows are there.

    Raises:
        OutputPathError: rows are there and neither option is given; they depend on something else, or are none of
            ours; the file cannot be written.

    """
    target = Path(os.path.realpath(out))
    partial = _beside(target, ".partial")
    header, line_of = row_formatter(out, columns)
    if not target.parent.is_dir():
        raise OutputPathError(f"{out}: cannot be written: No such file or directory: {target.parent}")
    if not resume:
        _refuse_existing(out, partial, overwrite)
    with open_to_append(partial) as file:
        try:
            earlier = _earlier(target, file, partial, columns, settings) if resume else Earlier()
            file.truncate(earlier.length)
            if not earlier.length:
                file.write(header.encode())
            write_text(_beside(partial, ".run.json"), json.dumps(settings, ensure_ascii=False, indent=2) + "\n")
            yield OutFile(lambda row: _append(file, line_of(row)), earlier)
            os.fsync(file.fileno())
            _beside(partial, ".run.json").replace(_beside(target, ".run.json"))
            partial.replace(target)
        except BaseException as error:
            if os.fstat(file.fileno()).st_size <= len(header.encode()):
                _beside(partial, ".run.json").unlink(missing_ok=True)
                partial.unlink(missing_ok=True)
            if isinstance(error, OSError) and not isinstance(error, TlError):
                raise OutputPathError(f"{partial}: cannot be written: {first_line(error)}") from error
            raise


def _append(file: BinaryIO, line: str) -> None:
    file.write(line.encode())
    file.flush()  # what stands in a buffer is lost with the process


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _refuse_existing(out: Path, partial: Path, overwrite: bool) -> None:
    if overwrite:
        return
    if out.exists():
        raise OutputPathError(
            f"{out}: exists already; choose another name, go on with it by --resume, or replace it with --overwrite"
        )
    if partial.exists():
        raise OutputPathError(f"{partial}: rows of a run that was cut off; go on by --resume, or --overwrite them")


def _earlier(target: Path, file: BinaryIO, partial: Path, columns: Columns, settings: Settings) -> Earlier:
    """The rows to go on with, which are in `partial` afterwards."""
    source = partial if os.fstat(file.fileno()).st_size else target
    if not source.exists():
        return Earlier(suffix=target.suffix.lower())
    _check_settings(source, settings)
    earlier = read_earlier(source, columns)
    if source == target:
        with target.open("rb") as rows:
            shutil.copyfileobj(rows, file, 1 << 20)
        file.flush()
    return earlier


def _check_settings(source: Path, settings: Settings) -> None:
    """Refuse to mix rows that depend on different things."""
    told = _beside(source, ".run.json")
    try:
        before = json.loads(told.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputPathError(
            f"{told}: cannot be read, so nothing says how the rows of {source.name} came about; "
            "begin anew with --overwrite"
        ) from error
    now = json.loads(json.dumps(settings))
    for name in now:
        found = before.get(name) if isinstance(before, dict) else None
        if found != now[name]:
            raise OutputPathError(
                f"{source}: its rows were made with {name} {json.dumps(found)}, now it is {json.dumps(now[name])}; "
                "give the same model and options, or begin anew with --overwrite"
            )
