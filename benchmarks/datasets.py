"""Accuracy, log-loss, time and memory of each way to train on several sets of images: a Markdown table, and a figure.

    python benchmarks/datasets.py cats-dogs digits photos/ [--way auto --way head ...] [--seeds 3] [--results FILE]

With --results the outcomes are kept in a file, which another call adds to, and the figure is that of all of them.

Every way runs in a process of its own, without the cache of tl-train. The accuracy is that of the images that tl-train
holds out and uses for nothing else; the same for all. `linear probe` is scikit-learn's logistic regression with its
defaults on the features of the frozen network; `fastai N` and `timm N` (others.py) fine-tune N epochs from the same
weights; `partial N` trains the last stages for N epochs. Seconds are those of the whole process, and of the processor
in all its threads and children: these hold on a busy machine too.
"""

import argparse
import dataclasses
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

import process
from tl_train import TrainConfig
from tl_train.evaluation.metrics import wilson_interval
from tl_train.progress import Progress
from tl_train.run.prepare import prepare

HERE = Path(__file__).parent
WAYS = {
    "linear probe": [],
    "head": ["--mode", "head"],
    "partial 1": ["--mode", "partial", "--epochs", "1"],
    "partial 2": ["--mode", "partial", "--epochs", "2"],
    "partial 4": ["--mode", "partial", "--epochs", "4"],
    "partial 8": ["--mode", "partial", "--epochs", "8"],
    "auto": ["--mode", "auto"],
    "gradual": ["--mode", "gradual"],
    "full": ["--mode", "full"],
    "fastai 4": ["fastai", "--epochs", "4"],
    "fastai 8": ["fastai", "--epochs", "8"],
    "timm 8": ["timm", "--epochs", "8"],
}
# Marker and colour of a way, by what its name begins with.
_MARKS = {
    "linear probe": ("x", "C7"),
    "head": ("s", "C0"),
    "partial": ("o", "C0"),
    "auto": ("*", "C3"),
    "fastai": ("v", "C1"),
    "timm": ("v", "C2"),
    "": ("^", "C4"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one way with one seed.

    Attributes:
        accuracy: 0..1.
        log_loss: nats.
        seconds: of the process.
        processor_s: user and system time, children included.
        memory_mb: the most resident.

    """

    accuracy: float
    log_loss: float
    seconds: float
    processor_s: float
    memory_mb: float


def run(way: str, data: str, parts: Path, seed: int) -> Outcome:
    """Train that way on `data`, which `parts` has as folders."""
    with tempfile.TemporaryDirectory() as folder:
        if way == "linear probe":
            command = [sys.executable, str(HERE / "probe.py"), data]
        elif way.startswith(("fastai", "timm")):
            tool, *options = WAYS[way]
            command = [sys.executable, str(HERE / "others.py"), tool, str(parts), *options, "--seed", str(seed)]
        else:
            command = [sys.executable, "-m", "tl_train", data, "--out", f"{folder}/run", "--no-cache"]
            command += [*WAYS[way], "--seed", str(seed)]
        done = process.run(command)
        metrics = Path(folder, "run", "metrics.json")
        found = (
            json.loads(metrics.read_bytes())["held_out"]
            if metrics.exists()
            else json.loads(done.printed.splitlines()[-1])
        )
    return Outcome(found["accuracy"], found["log_loss"], done.seconds, done.processor_s, done.memory_mb)


def as_folders(data: str, folder: Path) -> int:
    """Put the images of a set into `train/` and `test/` as tl-train splits them; returns how many there are to test."""
    dataset = prepare(TrainConfig.of(data, mode="head"), Progress()).dataset
    for part, samples in (("train", [*dataset.train, *dataset.val]), ("test", dataset.held_out()[1])):
        for number, sample in enumerate(samples):
            place = folder / part / dataset.labels[sample.label]
            place.mkdir(parents=True, exist_ok=True)
            if sample.path is None:
                Image.fromarray(sample.load()).save(place / f"{number}.png")
            else:
                shutil.copy(sample.path, place / f"{number}{sample.path.suffix}")
    return len(dataset.held_out()[1])


def row(way: str, outcomes: Sequence[Outcome], images: int) -> str:
    """A row of the table."""
    accuracy = [outcome.accuracy for outcome in outcomes]
    interval = wilson_interval(round(statistics.fmean(accuracy) * images), images)
    spread = f" ({min(accuracy):.1%} to {max(accuracy):.1%})" if len(accuracy) > 1 else ""
    loss = statistics.fmean(outcome.log_loss for outcome in outcomes)
    seconds, processor_s = (
        statistics.median(getattr(outcome, name) for outcome in outcomes) for name in ("seconds", "processor_s")
    )
    memory_mb = max(outcome.memory_mb for outcome in outcomes)
    return (
        f"| {way} | {statistics.fmean(accuracy):.1%}{spread} | {interval.low:.1%} to {interval.high:.1%} "
        f"| {loss:.3f} | {seconds:.0f} | {processor_s:.0f} | {memory_mb:.0f} |"
    )


def draw(found: dict[str, dict[str, list[Outcome]]], path: Path) -> None:
    """Accuracy against processor time, a panel for each set."""
    from matplotlib.figure import Figure

    rows = -(-len(found) // 2)
    figure = Figure(figsize=(9.6, 4.2 * rows), layout="constrained")
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes in panels[len(found) :]:
        axes.remove()
    for axes, (data, ways) in zip(panels, found.items(), strict=False):
        by_time = sorted(ways.items(), key=lambda way: statistics.median(each.processor_s for each in way[1]))
        for number, (way, outcomes) in enumerate(by_time):
            marker, colour = next(style for start, style in _MARKS.items() if way.startswith(start))
            x = statistics.median(outcome.processor_s for outcome in outcomes)
            accuracy = [100 * outcome.accuracy for outcome in outcomes]
            y = statistics.fmean(accuracy)
            axes.errorbar(x, y, yerr=[[y - min(accuracy)], [max(accuracy) - y]], fmt=marker, color=colour, capsize=3)
            # By turns at three heights, as neighbours in time are often as good.
            axes.annotate(way, (x, y), (5, (6, -13, 17)[number % 3]), textcoords="offset points", fontsize=8)
        axes.set(title=Path(data).name, xlabel="processor seconds, whole run", xscale="log")
        axes.set_ylabel("accuracy on held-out images, %")
        axes.margins(0.25, 0.12)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def load(path: Path) -> dict[str, dict[str, list[Outcome]]]:
    """What earlier calls kept."""
    kept = json.loads(path.read_bytes())
    return {data: {way: [Outcome(**one) for one in ones] for way, ones in ways.items()} for data, ways in kept.items()}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*")
    parser.add_argument("--way", action="append", choices=WAYS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--results", type=Path, help="JSON; made, or added to")
    options = parser.parse_args()
    found = load(options.results) if options.results and options.results.exists() else {}
    for data in options.data:
        found.setdefault(data, {})
        print(f"\n{data}\n\n| | accuracy | 95% interval | log-loss | s | processor s | MB |\n|{' --- |' * 7}")
        with tempfile.TemporaryDirectory() as folder:
            images = as_folders(data, Path(folder))
            for way in options.way or WAYS:
                seeds = 1 if way == "linear probe" else options.seeds
                found[data][way] = [run(way, data, Path(folder), seed) for seed in range(seeds)]
                print(row(way, found[data][way], images), flush=True)
                if options.results:
                    text = json.dumps(found, default=dataclasses.asdict, indent=1)
                    options.results.write_text(text, encoding="utf-8")
    if options.figure:
        draw(found, options.figure)


if __name__ == "__main__":
    main()
