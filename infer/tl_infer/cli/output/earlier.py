"""The rows that an earlier run left, for `--resume`: which files are done, and with what result."""

import collections
import csv
import dataclasses
import json
from pathlib import Path
from typing import cast, get_args

from tl_infer.cli.output.formats import Columns, written_path
from tl_infer.cli.output.rows import Row, Tally
from tl_infer.errors import OutputPathError, first_line
from tl_infer.results import Reason
from tl_infer.system.files import open_regular
from tl_infer.text.label_sets import split
from tl_infer.text.safetext import plain_text

_MAX_LINE_BYTES = 50_000_000  # a row of a model of very many classes has less


@dataclasses.dataclass(slots=True)
class Earlier:
    """Earlier rows.

    Attributes:
        length: bytes of the whole lines.
        suffix: of the file, which decides how paths are written.
        tally: of the rows.

    """

    length: int = 0
    suffix: str = ".csv"
    tally: Tally = dataclasses.field(default_factory=Tally)
    # Digests, because a million paths would take more memory.
    _paths: collections.Counter[bytes] = dataclasses.field(default_factory=collections.Counter)

    def add(self, row: Row) -> None:
        """Remember a row, its path as it is written in the file."""
        self._paths[_digest(row.path)] += 1
        self.tally.add(row)

    def take(self, path: Path) -> bool:
        """Whether there is a row for a file; each row counts once, because a file can be given twice."""
        key = _digest(written_path(str(path), self.suffix))
        if not self._paths[key]:
            del self._paths[key]
            return False
        self._paths[key] -= 1
        return True


def read_earlier(path: Path, columns: Columns) -> Earlier:
    """Read rows; an unfinished last line is ignored.

    Raises:
        OutputPathError: a line is not a row with these columns.

    """
    name = path.with_suffix("") if path.suffix == ".partial" else path
    earlier = Earlier(suffix=name.suffix.lower())
    try:
        with open_regular(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), start=1):
                if len(line) == _MAX_LINE_BYTES:
                    raise ValueError("too long")
                if not line.endswith(b"\n"):
                    break
                text = line.decode("utf-8")
                if number > 1 or earlier.suffix != ".csv" or not _is_header(text, columns):
                    earlier.add(parse_row(text, columns, earlier.suffix))
                earlier.length += len(line)
    except (ValueError, KeyError, TypeError, RecursionError, csv.Error) as error:
        raise OutputPathError(
            f"{path}: line {number} is not a row with the columns of this run; start over with --overwrite"
        ) from error
    except OSError as error:
        raise OutputPathError(f"{path}: cannot be read: {first_line(error)}") from error
    return earlier


def parse_row(line: str, columns: Columns, suffix: str) -> Row:
    """A row of its line in a file of that suffix, its path as it is written there.

    Raises:
        ValueError, KeyError, TypeError, RecursionError, csv.Error: not a row with these columns.

    """
    return _csv_row(line, columns) if suffix == ".csv" else _json_row(line, columns)


def _is_header(line: str, columns: Columns) -> bool:
    if next(csv.reader([line])) != columns.csv_header():
        raise ValueError(line)
    return True


def _csv_row(line: str, columns: Columns) -> Row:
    header = columns.csv_header()
    row = dict(zip(header, next(csv.reader([line])), strict=True))
    return Row(
        path=row["path"],
        label=None if columns.several else plain_text(row["label"]) or None,
        labels=split(plain_text(row["labels"])) if columns.several else None,
        error=row["error"] or None,
        abstained=row.get("abstained") == "true",
        reason=_reason(row.get("reason")),
    )


def _json_row(line: str, columns: Columns) -> Row:
    row = json.loads(line)
    if list(row) != columns.json_keys():
        raise ValueError(line)
    return Row(
        path=row["path"],
        label=row.get("label"),
        labels=tuple(row["labels"]) if columns.several else None,
        error=row["error"],
        abstained=row.get("abstained", False),
        reason=_reason(row.get("reason")),
    )


def _reason(found: str | None) -> Reason | None:
    """As the row says; None also of a model that abstains for one reason only."""
    for reason in get_args(Reason):
        if found == reason:
            return cast(Reason, reason)
    if found:
        raise ValueError(found)
    return None


def _digest(path: str) -> bytes:
    import hashlib  # here, because it loads OpenSSL, and most runs do without

    return hashlib.blake2b(path.encode("utf-8", errors="surrogatepass"), digest_size=8).digest()
