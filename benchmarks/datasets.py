"""Accuracy, log-loss, time and memory of each way to train on several sets of images, as rows of a Markdown table.

    python benchmarks/datasets.py cats-dogs digits photos/ [--recipe auto --recipe head ...] [--seeds 3] [--figure FILE]

Each run is `tl-train` in a process of its own, without the cache, on images that are in the disk's cache. The accuracy
is that of the images that tl-train holds out and uses for nothing else; the first row of each set is scikit-learn's
logistic regression, with its defaults, on the same features.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from tl_train import TrainConfig
from tl_train.evaluation.metrics import wilson_interval
from tl_train.head.features import part_of
from tl_train.progress import Progress
from tl_train.run.prepare import prepare

RECIPES = ("head", "partial", "auto", "gradual", "full")
# What `full` needs to be a fair standard fine-tuning: the chapter's own settings are far from it.
OPTIONS = {
    "full": [
        "--mode", "full", "--optimizer", "adamw", "--schedule", "cosine", "--warmup-epochs", "0.5", "--lr", "3e-4",
        "--batch-size", "32", "--epochs", "8", "--augment", "light",
    ]
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What came of one way on one set, over the seeds.

    Attributes:
        name: of the way.
        accuracy: of each seed, 0..1.
        interval: 95%, of the first seed.
        log_loss: of each seed, nats.
        seconds: of each seed, the whole process.
        memory_mb: the most of all seeds.

    """

    name: str
    accuracy: Sequence[float]
    interval: tuple[float, float]
    log_loss: Sequence[float]
    seconds: Sequence[float]
    memory_mb: float

    def __str__(self) -> str:
        low, high = self.interval
        spread = f" ({min(self.accuracy):.1%} to {max(self.accuracy):.1%})" if len(self.accuracy) > 1 else ""
        return (
            f"| {self.name} | {statistics.fmean(self.accuracy):.1%}{spread} | {low:.1%} to {high:.1%} "
            f"| {statistics.fmean(self.log_loss):.3f} | {statistics.median(self.seconds):.0f} | {self.memory_mb:.0f} |"
        )


def linear_probe(data: str) -> Row:
    """scikit-learn's logistic regression on the features of the training images."""
    started = time.perf_counter()
    setup = prepare(TrainConfig.of(data, mode="head", no_cache=True), Progress())
    train, test = (part_of(setup.dataset, part) for part in (setup.dataset.train, setup.dataset.held_out()[1]))
    model = LogisticRegression(max_iter=1000).fit(train.features, train.labels)
    probabilities = model.predict_proba(test.features)
    right = int((probabilities.argmax(axis=1) == test.labels).sum())
    interval = wilson_interval(right, len(test.labels))
    loss = log_loss(test.labels, probabilities, labels=np.arange(len(setup.dataset.labels)))
    accuracy = right / len(test.labels)
    return Row("linear probe", [accuracy], (interval.low, interval.high), [loss], [time.perf_counter() - started], 0)


def run(data: str, recipe: str, seeds: int) -> Row:
    """tl-train, once for each seed."""
    found, seconds, memory_mb = [], [], 0.0
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            options = OPTIONS.get(recipe, ["--recipe", recipe])
            command = [sys.executable, "-m", "tl_train", data, "--out", f"{folder}/run", "--no-cache", *options]
            started = time.perf_counter()
            process = subprocess.Popen(
                [*command, "--seed", str(seed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"failed: {' '.join(command)}")
            seconds.append(time.perf_counter() - started)
            memory_mb = max(memory_mb, usage.ru_maxrss / 1000)
            found.append(json.loads(Path(folder, "run", "metrics.json").read_text(encoding="utf-8"))["held_out"])
    low, high = found[0]["accuracy_interval"]
    accuracy = [one["accuracy"] for one in found]
    return Row(recipe, accuracy, (low, high), [one["log_loss"] for one in found], seconds, memory_mb)


def draw(rows: dict[str, list[Row]], path: Path) -> None:
    """Accuracy against time, a panel for each set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(rows), 4.2), layout="constrained")
    for axes, (data, ways) in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows.items(), strict=True):
        for way in ways:
            x, y = statistics.median(way.seconds), statistics.fmean(way.accuracy)
            axes.errorbar(x, y, yerr=[[y - min(way.accuracy)], [max(way.accuracy) - y]], fmt="o", capsize=3)
            axes.annotate(way.name, (x, y), textcoords="offset points", xytext=(6, 6))
        axes.set(
            title=Path(data).name, xlabel="seconds, whole process", ylabel="accuracy of held-out images", xscale="log"
        )
        axes.margins(0.2)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+")
    parser.add_argument("--recipe", action="append", choices=RECIPES)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    rows: dict[str, list[Row]] = {}
    for data in options.data:
        print(f"\n{data}\n\n| | accuracy | 95% interval | log-loss | s | MB |\n| --- | --- | --- | --- | --- | --- |")
        rows[data] = []
        for recipe in (None, *(options.recipe or RECIPES)):
            rows[data].append(linear_probe(data) if recipe is None else run(data, recipe, options.seeds))
            print(rows[data][-1], flush=True)
    if options.figure:
        draw(rows, options.figure)


if __name__ == "__main__":
    main()
