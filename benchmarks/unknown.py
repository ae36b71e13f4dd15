"""How well an exported file tells unknown images, as rows of Markdown tables.

    python benchmarks/unknown.py clothing/ --far photos/ --far hymenoptera/ \
        --leave-out dress,shoes --leave-out hat,skirt [--mode head] [--precision int8]

DATA is a folder with `train/` and `test/`, each with a folder per class. One model is trained on all of it; its far
unknowns are the images of the `--far` folders. Another one is trained for each pair of classes that is left out; its
near unknowns are the test images of these. All are exported, and the Classifier is asked for the familiarity of every
image. Nothing is chosen by what is measured here. Beside it stands the largest probability, which needs no familiarity.
"""

import argparse
import csv
import dataclasses
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tl_export import ExportOptions, Precision, export
from tl_infer import Classification, Classifier
from tl_infer.system.finding import find_files
from tl_train import TrainConfig, train
from tl_train.familiarity.rejection import auroc

PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What a model said of some images: their familiarity, largest probability, and share rejected as unfamiliar."""

    familiarity: np.ndarray
    probability: np.ndarray
    rejected: float


def see(classifier: Classifier, paths: Iterable[Path]) -> Seen:
    """Classify images; those that cannot be read are left out."""
    results = [result for result in classifier.classify_many(paths) if isinstance(result, Classification)]
    return Seen(
        np.array([result.familiarity for result in results], np.float64),
        np.array([result.probability for result in results]),
        statistics.fmean(result.reason == "unfamiliar" for result in results),
    )


def images_of(data: Path, part: str, labels: Sequence[str]) -> list[Path]:
    """The images of some classes in one part of the data."""
    folders = [data / part / label for label in labels]
    return find_files([folder for folder in folders if folder.is_dir()])


def model_of(data: Path, labels: Sequence[str], mode: str, precision: Precision) -> Classifier:
    """A model trained on some of the classes, exported, opened."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "images.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("path", "label", "split"))
            for part in PARTS:
                for label in labels:
                    split = "val" if part == "validation" else part
                    rows.writerows((path.absolute(), label, split) for path in images_of(data, part, [label]))
        train(TrainConfig.of(str(folder / "images.csv"), mode=mode), folder / "run")
        options = ExportOptions(precision=precision, verify_count=8)
        return Classifier(export(folder / "run", folder / "model.onnx", options).path.read_bytes())


def row(name: str, known: Seen, unknown: Seen) -> str:
    """A set of unknown images."""
    return (
        f"| {name} | {len(unknown.familiarity)} | {auroc(known.familiarity, unknown.familiarity):.3f} "
        f"| {auroc(known.probability, unknown.probability):.3f} | {unknown.rejected:.1%} | {known.rejected:.1%} |"
    )


def main() -> None:
    """Print a row per set of unknown images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--far", type=Path, action="append", default=[])
    parser.add_argument("--leave-out", action="append", default=[], metavar="CLASS,CLASS")
    parser.add_argument("--mode", default="head")
    parser.add_argument("--precision", default=Precision.FP32, type=Precision)
    given = parser.parse_args()
    labels = sorted(path.name for path in (given.data / "train").iterdir() if path.is_dir())
    print("| unknown images | images | AUROC | of the largest probability | rejected | own test images rejected |")
    print("| --- | --- | --- | --- | --- | --- |")
    if given.far:
        model = model_of(given.data, labels, given.mode, given.precision)
        known = see(model, images_of(given.data, "test", labels))
        for folder in given.far:
            print(row(folder.name, known, see(model, find_files([folder]))), flush=True)
    aurocs = []
    for pair in given.leave_out:
        left_out = pair.split(",")
        kept = [label for label in labels if label not in left_out]
        model = model_of(given.data, kept, given.mode, given.precision)
        known = see(model, images_of(given.data, "test", kept))
        unknown = see(model, images_of(given.data, "test", left_out))
        aurocs.append(auroc(known.familiarity, unknown.familiarity))
        print(row(" + ".join(left_out), known, unknown), flush=True)
    if aurocs:
        print(f"\nMean AUROC over the classes left out: {statistics.fmean(aurocs):.3f}")


if __name__ == "__main__":
    main()
