"""What int8 costs and keeps, as rows of a Markdown table: data sets x architectures x ways of training x seeds.

    python benchmarks/int8.py DATA... [--way head partial] [--arch efficientnet_lite0] [--seeds 3]
        [--set size=96 --set weights=none] [--csv-rounds 3] [--keep FOLDER]

DATA is what tl-train takes: a folder, `digits`, `cats-dogs`. Each run is trained by tl-train and exported by tl-export
with `--int8` and its default gate, in processes of their own; the row is printed as soon as it is there:

- kept: whether the file is int8; else it is fp32, with the first reason, and the figures are of the refused file;
- faster: network and preprocessing, one thread, in turns with fp32;
- files to CSV: the same for whole processes of tl-infer on at most 800 of the images, the quickest of some rounds; only
  where int8 was kept;
- points lost, log-loss risen: what the gate saw, with 95% intervals, on so many images (cross-fitted training images
  among them where few are held out); below 0 is won.

A run that fails has a row with its last line, and the others go on. With --keep, runs and rows stay in a folder, and
rows that are there are not measured again. Means at the end are over all rows with figures, kept or not, with the
standard error over these rows. --set gives tl-train further options.
"""

import argparse
import dataclasses
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tl_export.companions import parity_path
from tl_infer.system.finding import find_files

_VERIFIED = "16"  # the proof is not what is measured here
_MOST_FILES = 800
_SOME_FAILED = 3  # tl-infer's exit code where other files lie beside the images
_COLUMNS = (
    "data", "arch", "way", "seed", "kept", "faster", "files to CSV", "smaller", "accuracy, fp32 and int8",
    "points lost", "log-loss risen", "images", "head",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One run to measure."""

    data: str
    arch: str
    way: str
    seed: int
    options: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of its folder; one for each case and nothing else."""
        parts = (Path(self.data).name, self.arch, self.way, str(self.seed), *self.options)
        return "-".join(parts).replace("/", "_").replace(":", "_")


class FailedError(Exception):
    """A program failed; the message is the last line that it printed."""


def program(*arguments: str) -> float:
    """Run one of our programs; seconds that it took."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)
    if done.returncode not in (0, _SOME_FAILED):
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise FailedError(f"{arguments[0]}: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return time.perf_counter() - started


def measured(case: Case, folder: Path, csv_rounds: int) -> dict[str, Any]:
    """Train, export, time; what tl-export wrote of int8, and `files`, how many times faster files become a CSV."""
    known = folder / "row.json"
    if known.is_file():
        found: dict[str, Any] = json.loads(known.read_text())
        return found
    folder.mkdir(parents=True, exist_ok=True)
    run, small, plain = folder / "run", folder / "int8.onnx", folder / "fp32.onnx"
    if not (run / "metrics.json").is_file():
        given = ("--arch", case.arch, "--mode", case.way, "--seed", str(case.seed), *case.options)
        program("tl_train", case.data, "--out", str(run), "--overwrite", *given)
    program("tl_export", str(run), "--out", str(small), "--int8", "--verify-count", _VERIFIED, "--overwrite")
    found = json.loads(parity_path(small).read_text())["int8"]
    found["files"] = None
    if found["kept"] and csv_rounds:
        program("tl_export", str(run), "--out", str(plain), "--verify-count", _VERIFIED, "--overwrite")
        found["files"] = files_ratio(plain, small, images_of(case, run), csv_rounds)
    known.write_text(json.dumps(found))
    return found


def images_of(case: Case, run: Path) -> list[str]:
    """Image files of the data set; those that the run held out, where it has no folder."""
    folder = Path(case.data)
    files = find_files([folder if folder.is_dir() else run / "held_out"])
    return [str(path) for path in files[:: -(-len(files) // _MOST_FILES)]]


def files_ratio(plain: Path, small: Path, images: Sequence[str], rounds: int) -> float:
    """How many times as fast tl-infer is with the second file."""
    seconds: dict[Path, list[float]] = {plain: [], small: []}
    for _ in range(rounds):
        for model, times in seconds.items():
            table = str(model.with_suffix(".csv"))
            times.append(program("tl_infer", str(model), *images, "--out", table, "--overwrite"))
    return min(seconds[plain]) / min(seconds[small])


def cells(case: Case, found: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    before, after, lost = found["fp32"], found["int8"], found["loss"]
    return (
        *_names(case),
        "int8" if found["kept"] else f"fp32: {found['objections'][0]}",
        f"{found['speedup']['value']:.2f}",
        "" if found["files"] is None else f"{found['files']:.2f}",
        f"{before['size_bytes'] / after['size_bytes']:.2f}",
        f"{before['accuracy']:.1%}, {after['accuracy']:.1%}",
        _interval(lost["accuracy"], 100, 2),
        _interval(lost["log_loss"], 1, 4),
        str(lost["pictures"]),
        found["head"],
    )


def _names(case: Case) -> tuple[str, str, str, str]:
    return Path(case.data).name, case.arch, case.way, str(case.seed)


def _interval(estimate: dict[str, float | None], factor: float, digits: int) -> str:
    """Value and 95% interval; an end that is not known is `?`."""
    value, low, high = (
        "?" if part is None else f"{part * factor:+.{digits}f}"
        for part in (estimate["value"], estimate["low"], estimate["high"])
    )
    return f"{value} ({low} to {high})"


def line(values: Sequence[str]) -> str:
    """As Markdown."""
    return f"| {' | '.join(value.replace('|', '/') for value in values)} |"


def summary(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The means over all rows, kept or not."""
    yield f"kept {sum(row['kept'] for row in rows)} of {len(rows)}"
    if not rows:
        return
    figures = {
        "times faster": [row["speedup"]["value"] for row in rows],
        "times faster from files to CSV": [row["files"] for row in rows if row["files"] is not None],
        "times smaller": [row["fp32"]["size_bytes"] / row["int8"]["size_bytes"] for row in rows],
        "points lost on held-out images": [100 * (row["fp32"]["accuracy"] - row["int8"]["accuracy"]) for row in rows],
        "log-loss risen on held-out images": [row["int8"]["log_loss"] - row["fp32"]["log_loss"] for row in rows],
        "points lost, as the gate saw it": [100 * row["loss"]["accuracy"]["value"] for row in rows],
        "log-loss risen, as the gate saw it": [row["loss"]["log_loss"]["value"] for row in rows],
    }
    for name, values in figures.items():
        if values:
            error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.4f}" if len(values) > 1 else ""
            yield f"{name}: {statistics.fmean(values):.4f}{error}, {min(values):.4f} to {max(values):.4f}"


def main() -> None:
    """Run, and print a row at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--way", nargs="+", default=["head", "partial"], help="modes of tl-train")
    parser.add_argument("--arch", nargs="+", default=["efficientnet_lite0"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an option of tl-train")
    parser.add_argument("--csv-rounds", type=int, default=3, help="0 leaves files to CSV out")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    options = tuple(f"--{option.replace('_', '-')}" for option in given.set)
    print(line(_COLUMNS), line(["---"] * len(_COLUMNS)), sep="\n", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for values in itertools.product(given.data, given.arch, given.way, range(given.seeds)):
            case = Case(*values, options)
            try:
                found = measured(case, (given.keep or Path(name)) / case.name, given.csv_rounds)
            except FailedError as error:
                print(line((*_names(case), f"failed: {error}", *[""] * (len(_COLUMNS) - 5))), flush=True)
                continue
            rows.append(found)
            print(line(cells(case, found)), flush=True)
    print("", *summary(rows), sep="\n", flush=True)


if __name__ == "__main__":
    main()
