"""What int8 costs and keeps: data sets x modes x seeds, each trained, exported with --int8 and judged.

    python benchmarks/int8.py DATA... [--modes head partial] [--seeds 3] [--csv FILE]

DATA is what tl-train takes: a folder, `digits`, `cats-dogs`. Prints a line per run as it is finished: what was kept,
the speed-up (network and preprocessing, one thread, in turns), how many times smaller, the accuracy lost in points and
the rise of the log-loss in nats on the run's held-out images; then the means. Nothing is left out that was refused.
"""

import argparse
import csv
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tl_export import ExportOptions, Precision, export
from tl_export.smaller.int8_result import QuantizeResult
from tl_train import TrainConfig, train

_HEADER = ("data", "mode", "seed", "kept", "speed", "size", "points_lost", "nats", "pictures", "head")
_VERIFIED = 16  # the proof is not what is measured here


def measured(data: str, mode: str, seed: int, folder: Path) -> QuantizeResult:
    """Train, export with --int8 and its default gate."""
    run = folder / f"{Path(data).name}-{mode}-{seed}"
    train(TrainConfig.of(data, mode=mode, seed=seed), run)
    options = ExportOptions(precision=Precision.INT8, verify_count=_VERIFIED)
    result = export(run, run / "model.onnx", options).int8
    assert result is not None
    return result


def row_of(data: str, mode: str, seed: int, result: QuantizeResult) -> tuple[str, ...]:
    """As it is printed and written."""
    before, after = result.rows()
    return (
        Path(data).name, mode, str(seed), "int8" if result.kept else "fp32", f"{result.speedup.value:.2f}",
        f"{before.size_bytes / after.size_bytes:.2f}", f"{100 * (before.accuracy - after.accuracy):.2f}",
        f"{after.log_loss - before.log_loss:.4f}", str(result.pictures), result.head,
    )  # fmt: skip


def main() -> None:
    """Run, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+")
    parser.add_argument("--modes", nargs="+", default=["head", "partial"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    print(*_HEADER, sep="\t", flush=True)
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as name:
        for data in options.data:
            for mode in options.modes:
                for seed in range(options.seeds):
                    rows.append(row_of(data, mode, seed, measured(data, mode, seed, Path(name))))
                    print(*rows[-1], sep="\t", flush=True)
    summarise(rows)
    if options.csv is not None:
        with options.csv.open("w", newline="") as file:
            csv.writer(file).writerows([_HEADER, *rows])


def summarise(rows: Sequence[Sequence[str]]) -> None:
    """The means, over all runs, kept or not."""
    kept = sum(row[3] == "int8" for row in rows)
    speed, size, lost, nats = (statistics.mean(float(row[place]) for row in rows) for place in range(4, 8))
    print(
        f"kept {kept} of {len(rows)}; means: {speed:.2f} times as fast, {size:.2f} times smaller, {lost:.2f} points of "
        f"accuracy lost, log-loss {nats:+.4f}"
    )


if __name__ == "__main__":
    main()
