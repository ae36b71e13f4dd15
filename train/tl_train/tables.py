"""Tables as CSV files."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tl_infer.system.files import write_bytes


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file, UTF-8 with a header.

    Raises:
        OutputPathError: the file cannot be written.

    """
    text = io.StringIO()
    # Texts are quoted: unquoted, a carriage return in a file name would split its row.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(header)
    writer.writerows(rows)
    # A file name that is not valid Unicode keeps its bytes, so that the file can be found again.
    write_bytes(path, text.getvalue().encode("utf-8", errors="surrogateescape"))
