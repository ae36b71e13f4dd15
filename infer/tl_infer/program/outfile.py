"""`--out`: the file of rows, and going on with one that is not finished.

Rows go to `NAME.partial` one by one and stay there when the process is killed; at the end, or after Ctrl-C, that file
takes the place of `NAME`. `NAME.run.json` says what the rows depend on, so that nothing else is mixed with them.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from tl_infer.errors import OutputPathError
from tl_infer.files import open_to_append, write_text
from tl_infer.program.earlier import Earlier, read_earlier
from tl_infer.program.rows import Row
from tl_infer.program.writers import Columns, row_formatter

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
    if not resume:
        _refuse_existing(out, partial, overwrite)
    with open_to_append(partial) as file:
        earlier = _earlier(target, file, partial, columns, settings) if resume else Earlier()
        file.truncate(earlier.length)
        if not earlier.length:
            file.write(header.encode())
        write_text(_beside(partial, ".run.json"), json.dumps(settings, ensure_ascii=False, indent=2) + "\n")
        written = 0

        def write(row: Row) -> None:
            nonlocal written
            file.write(line_of(row).encode())
            file.flush()  # what stands in a buffer is lost with the process
            written += 1

        try:
            yield OutFile(write, earlier)
            _finish(file, partial, target)
        except OSError as error:
            raise OutputPathError(f"{partial}: cannot be written: {error.strerror or error}") from error
        finally:
            if not written and partial.exists():
                _drop(partial)
