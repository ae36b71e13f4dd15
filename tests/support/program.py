"""`tl-infer` as a process of its own, as its users run it, and the tables that it writes."""

import csv
import subprocess
import sys
from pathlib import Path

MAIN = "from tl_infer.cli.start import main; main()"
TL_INFER = [sys.executable, "-c", MAIN]


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [*TL_INFER, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
