"""Which settings the recipe `head` should have: recipes compared by cross-validation on training images alone.

    python benchmarks/defaults.py [--data cats-dogs] [--folds 5] [--size PX] [--per-class N] [RECIPE ...]

Test images are not read for anything: the training images of the dataset are divided into folds, each recipe is
trained on all folds but one and judged on that one. RECIPE is a recipe's name, `full` or `full-low` (all parameters,
Adam at 1e-3 or 1e-4), or `head-no-prior`. Prints accuracy and log-loss, mean and standard error over the folds.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tl_train import train
from tl_train.config import TrainConfig
from tl_train.data.dataset import Dataset, load_dataset
from tl_train.data.sources.reading import read_source
from tl_train.head.folds import Folding
from tl_train.progress import Progress
from tl_train.recipes import load_recipe
from tl_train.tables import write_csv

SETTINGS: dict[str, dict[str, Any]] = {
    "full": {"mode": "full", "head_fit": "sgd", "prior": "none", "lr": 1e-3},
    "full-low": {"mode": "full", "head_fit": "sgd", "prior": "none", "lr": 1e-4},
    "head-no-prior": {"mode": "head", "prior": "none"},
}
RECIPES = ("head", "head-no-prior", "gradual", "full", "full-low")


def write_pictures(dataset: Dataset, per_class: int, folder: Path) -> list[tuple[str, int]]:
    """The first training images of each class as PNG files; their paths and classes."""
    rows: list[tuple[str, int]] = []
    taken = [0] * len(dataset.labels)
    for sample in dataset.train:
        if taken[sample.label] < per_class:
            taken[sample.label] += 1
            path = folder / f"{len(rows)}.png"
            Image.fromarray(sample.load()).save(path)
            rows.append((str(path), sample.label))
    return rows


def judge(fields: dict[str, Any], table: Path, out: Path) -> tuple[float, float]:
    """Accuracy and log-loss of one fold."""
    config = TrainConfig.from_fields({**fields, "data": str(table), "val_split": 0})
    evaluation = train(config, out, overwrite=True).evaluation
    assert evaluation is not None
    return evaluation.accuracy, evaluation.log_loss


def cross_validate(
    name: str, size: int | None, rows: Sequence[tuple[str, int]], labels: Sequence[str], count: int, folder: Path
) -> None:
    """Train and judge on every fold, and print a line."""
    fields = dict(SETTINGS[name] if name in SETTINGS else load_recipe(name))
    if size is not None:
        fields["size"] = size
    fold_of = Folding(0).of_classes(np.array([label for _, label in rows]), count)
    found = []
    for fold in range(count):
        parts = ["test" if of == fold else "train" for of in fold_of]
        table = folder / f"fold{fold}.csv"
        lines = [(path, labels[label], part) for (path, label), part in zip(rows, parts, strict=True)]
        write_csv(table, ("path", "label", "split"), lines)
        found.append(judge(fields, table, folder / "run"))
        print(".", end="", flush=True, file=sys.stderr)
    accuracy, loss = zip(*found, strict=True)
    error = statistics.stdev(loss) / count**0.5
    print(
        f"\r{name:<20} accuracy {statistics.fmean(accuracy):7.2%}   log-loss {statistics.fmean(loss):.4f} ± {error:.4f}"
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES, metavar="RECIPE")
    parser.add_argument("--data", default="cats-dogs")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--size", type=int)
    parser.add_argument("--per-class", type=int, default=40)
    options = parser.parse_args()
    config = TrainConfig.of(options.data, val_split=0)
    dataset = load_dataset(config, read_source(config, Progress()), Progress())
    with tempfile.TemporaryDirectory() as name:
        rows = write_pictures(dataset, options.per_class, Path(name))
        print(f"{options.data}: {len(rows)} training images, {options.folds} folds, {options.size or 'native'} px")
        for recipe in options.recipes:
            cross_validate(recipe, options.size, rows, dataset.labels, options.folds, Path(name))


if __name__ == "__main__":
    main()
