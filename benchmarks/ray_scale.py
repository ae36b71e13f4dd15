"""tl-infer on Ray beside plain tl-infer, and what each further worker brings: images/s, the start left out.

    python benchmarks/ray_scale.py MODEL FOLDER [--rounds 3] [--processors 1,2] [--no-ray]

The first table classifies the files of FOLDER with `tl-infer` and with `tl-infer --engine ray`, in turns, on all
processors; each start (imports, the model, the cluster) is timed on a few of the files and taken off. The second runs
plain tl-infer on the first 1, 2, ... processors that this process may use (sched_setaffinity, as `taskset` does), with
a thread for each: where nothing that they share limits them, n workers are n times as fast. Beside it stands the same
work in n processes of one thread, which share nothing but the machine: where both fall behind alike, it is the
machine's memory or clock that limits, and not the program. More workers than processors only show that none is lost.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

FEW = 8  # files that a start is timed on
TL_INFER = [sys.executable, "-m", "tl_infer"]


def seconds_of(commands: Sequence[Sequence[str]], processors: Sequence[int]) -> float:
    """Seconds that programs take which run at the same time, the nth on the nth processor where there are several."""
    each = [processors] if len(commands) == 1 else [[number] for number in processors]
    started = time.perf_counter()
    running = []
    for place, command in enumerate(commands):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.sched_setaffinity(process.pid, each[place % len(each)])
        running.append(process)
    for process in running:
        if process.wait() not in (0, 3):  # 3: some files could not be read
            raise SystemExit(f"failed: {' '.join(map(str, process.args))}")  # type: ignore[arg-type]
    return time.perf_counter() - started


class Way:
    """A way of classifying a list of files, timed without its start."""

    def __init__(self, folder: Path, files: Sequence[Path], run: Callable[[list[Path], Path], float]) -> None:
        """Write the lists.

        Args:
            folder: for the lists and the results.
            files: what is classified.
            run: classifies the files of some lists at once, into a folder; returns the seconds.

        """
        self._folder, self._files, self._run = folder, files, run
        self.rates: list[float] = []

    def timed(self, parts: int = 1) -> None:
        """Once over the files, dealt out to so many programs."""
        few, all_s = self._seconds(self._files[:FEW], parts), self._seconds(self._files, parts)
        self.rates.append((len(self._files) - FEW) / (all_s - few))

    def _seconds(self, files: Sequence[Path], parts: int) -> float:
        lists = [self._folder / f"{part}.txt" for part in range(parts)]
        for part, path in enumerate(lists):
            path.write_bytes(b"".join(os.fsencode(file) + b"\0" for file in files[part::parts]))
        out = self._folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        return self._run(lists, out)

    @property
    def rate(self) -> float:
        """Images a second, the median."""
        return statistics.median(self.rates)


def plain(model: Path, processors: Sequence[int], threads: int) -> Callable[[list[Path], Path], float]:
    """Runs of tl-infer, one for each list."""

    def run(lists: list[Path], out: Path) -> float:
        commands = [
            [*TL_INFER, str(model), *taken(path), "--threads", str(threads), "--out", str(out / f"{path.stem}.csv")]
            for path in lists
        ]
        return seconds_of(commands, processors)

    return run


def on_ray(model: Path, processors: Sequence[int]) -> Callable[[list[Path], Path], float]:
    """A run of tl-infer on a cluster of this machine's processors."""

    def run(lists: list[Path], out: Path) -> float:
        command = [*TL_INFER, str(model), *taken(lists[0]), "--engine", "ray", "--out", str(out / "rows")]
        return seconds_of([command], processors)

    return run


def taken(path: Path) -> list[str]:
    """The files of a list, as arguments."""
    return [os.fsdecode(name) for name in path.read_bytes().split(b"\0") if name]


def compare_with_ray(model: Path, files: Sequence[Path], rounds: int, folder: Path) -> None:
    """Print the first table."""
    processors = sorted(os.sched_getaffinity(0))
    ways = {
        "`tl-infer`": Way(folder, files, plain(model, processors, len(processors))),
        "`tl-infer --engine ray`": Way(folder, files, on_ray(model, processors)),
    }
    for _ in range(rounds):
        for way in ways.values():
            way.timed()
    first, *_ = ways.values()
    print(f"| {len(files)} files, {len(processors)} processors | images/s | of tl-infer |\n| --- | --- | --- |")
    for name, way in ways.items():
        print(f"| {name} | {way.rate:.1f} | {way.rate / first.rate:.2f} |", flush=True)


def scale(model: Path, files: Sequence[Path], counts: Sequence[int], rounds: int, folder: Path) -> None:
    """Print the second table."""
    processors = sorted(os.sched_getaffinity(0))
    threads = {count: Way(folder, files, plain(model, processors[:count], count)) for count in counts}
    programs = {count: Way(folder, files, plain(model, processors[:count], 1)) for count in counts}
    for _ in range(rounds):
        for count in counts:
            threads[count].timed()
            programs[count].timed(count)
    print("\n| workers | on processors | threads of one program, images/s | programs of one thread, images/s | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for count in counts:
        one, several = threads[count].rate, programs[count].rate
        print(
            f"| {count} | {min(count, len(processors))} | {one:.1f} | {several:.1f} | {one / several:.2f} |", flush=True
        )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processors", default="1,2,4", help="how many workers are tried")
    parser.add_argument("--no-ray", action="store_true")
    options = parser.parse_args()
    files = sorted(path for path in options.folder.rglob("*") if path.is_file())
    if len(files) < 2 * FEW:
        raise SystemExit(f"{options.folder}: {len(files)} files, expected {2 * FEW} or more")
    counts = [int(count) for count in options.processors.split(",")]
    with tempfile.TemporaryDirectory() as name:
        if not options.no_ray:
            compare_with_ray(options.model, files, options.rounds, Path(name))
        scale(options.model, files, counts, options.rounds, Path(name))


if __name__ == "__main__":
    main()
