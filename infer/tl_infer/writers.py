"""Results to files: CSV and JSON lines, one row per picture."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tl_infer.errors import ImageError
from tl_infer.files import replacing
from tl_infer.results import Classification

RowWriter = Callable[[Path, Classification | ImageError], None]
SUFFIXES = (".csv", ".jsonl")


@contextmanager
def result_writer(path: Path, top_k: int) -> Iterator[RowWriter]:
    """Open `path` for results; the file appears whole, under its name, when the block ends without an error.

    Args:
        path: ends in `.csv` or `.jsonl`.
        top_k: how many classes each row names.

    Raises:
        ValueError: another suffix.
        OutputPathError: the file cannot be written.

    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: found suffix '{path.suffix}', expected {' or '.join(SUFFIXES)}")
    with replacing(path) as file:
        # A file name that is not valid Unicode is written with escapes, so that the result is valid UTF-8.
        text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
        yield _csv_writer(text, top_k) if path.suffix.lower() == ".csv" else _jsonl_writer(text)
        text.flush()
        text.detach()  # `replacing` still needs the file open


def _csv_writer(text: io.TextIOWrapper, top_k: int) -> RowWriter:
    # Text is quoted throughout: unquoted, a carriage return in a file name would split its row.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    ranks = ["", *(f"_{rank}" for rank in range(2, top_k + 1))]
    writer.writerow(["path", *(f"{name}{rank}" for rank in ranks for name in ("label", "probability")), "error"])

    def write(path: Path, result: Classification | ImageError) -> None:
        if isinstance(result, ImageError):
            writer.writerow([str(path), *[""] * (2 * top_k), result.reason])
        else:
            scores = [cell for score in result.top for cell in (score.label, round(score.probability, 6))]
            writer.writerow([str(path), *scores, ""])

    return write


def _jsonl_writer(text: io.TextIOWrapper) -> RowWriter:
    def write(path: Path, result: Classification | ImageError) -> None:
        row: dict[str, object] = {
            "path": str(path),
            "label": None,
            "probability": None,
            "top": [],
            "error": None,
        }
        if isinstance(result, ImageError):
            row["error"] = result.reason
        else:
            top = [{"label": score.label, "probability": round(score.probability, 6)} for score in result.top]
            row |= {**top[0], "top": top}
        text.write(json.dumps(row, ensure_ascii=False) + "\n")

    return write
