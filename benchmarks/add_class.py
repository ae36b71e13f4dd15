"""What a class that is added from a few images is worth, and what it costs the others.

    python benchmarks/add_class.py --data FOLDER [--images 5 10 20] [--seeds 2] [CLASS ...]

FOLDER has sub-folders train and test, with one sub-folder of images per class. For each CLASS, all by
default, a head is fitted without it (`tl-train --mode head`), and the class is added from some of its training images,
drawn with a seed (`tl-export --add-class`). Prints the recall of the class on its test images, and the accuracy of the
other classes on theirs, before and after.
"""

import argparse
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from tl_export.adding.added_class import add_class
from tl_export.proof.trained import Trained
from tl_infer.system.finding import files_below
from tl_train import train
from tl_train.config import TrainConfig
from tl_train.progress import Progress
from tl_train.tables import aligned, write_csv

Figures = tuple[float, float, float]


def train_without(data: Path, left_out: str, arch: str, folder: Path) -> Path:
    """A run on all classes but one."""
    rows = [
        (file.absolute(), kind.name, part)
        for part in ("train", "test")
        for kind in sorted((data / part).iterdir())
        if kind.name != left_out
        for file in files_below(kind)
    ]
    write_csv(folder / "list.csv", ("path", "label", "split"), [tuple(map(str, row)) for row in rows])
    return train(TrainConfig.of(str(folder / "list.csv"), mode="head", arch=arch), folder / "run").out


def measure(run: Path, files: list[Path], test: list[Path], name: str, folder: Path) -> Figures:
    """Recall of the class that is added from `files` on `test`; accuracy of the others before and after."""
    folder.mkdir()
    for number, file in enumerate(files):
        (folder / f"{number}{file.suffix}").symlink_to(file.absolute())
    extended = add_class(Trained.load(run, count=1), name, folder, Progress())
    route = extended.trained.route
    found = [route(file).labels == (name,) for file in test]
    return statistics.fmean(found), extended.added.accuracy, extended.added.accuracy_now


def main() -> None:
    """Leave out, add, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--arch", default="efficientnet_lite0")
    parser.add_argument("classes", nargs="*", metavar="CLASS")
    given = parser.parse_args()
    classes = given.classes or sorted(kind.name for kind in (given.data / "train").iterdir())
    figures: dict[tuple[str, int], list[Figures]] = defaultdict(list)
    for name in classes:
        with tempfile.TemporaryDirectory() as folder:
            run = train_without(given.data, name, given.arch, Path(folder))
            files, test = files_below(given.data / "train" / name), files_below(given.data / "test" / name)
            for count in given.images:
                for seed in range(given.seeds):
                    drawn = [files[i] for i in np.random.default_rng(seed).permutation(len(files))[:count]]
                    found = measure(run, drawn, test, name, Path(folder) / f"{count}-{seed}")
                    figures[name, count].append(found)
            for count in given.images:
                print("  ".join(_row(name, count, figures[name, count])), flush=True)
    print()
    rows = [("class", "images", "recall", "others before", "others after")]
    rows += [_row(name, count, found) for (name, count), found in figures.items()]
    for count in given.images:
        rows.append(
            _row("mean", count, [one for (_, other), found in figures.items() if other == count for one in found])
        )
    print("\n".join(aligned(rows, names=1)))


def _row(name: str, count: int, found: list[Figures]) -> tuple[str, str, str, str, str]:
    recall, before, after = (f"{statistics.fmean(values):.1%}" for values in zip(*found, strict=True))
    return name, str(count), recall, before, after


if __name__ == "__main__":
    main()
