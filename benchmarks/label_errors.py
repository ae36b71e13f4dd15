"""How well wrong labels are found: some labels are flipped at random, and looked for in the run's list of suspects.

    python benchmarks/label_errors.py --data FOLDER [--share 0.05] [--seeds 3] [--arch NAME]

FOLDER has a sub-folder train, with one sub-folder of images per class. For each seed, that share of the
training labels is replaced by another class, a head is fitted (`tl-train --mode head`), and the order of its
suspects.csv is compared with what was flipped. Prints the share of the flipped labels among the first tenth of the
training images, the precision at the number flipped, and how many labels confident learning estimates to be wrong.
The labels that FOLDER itself has wrong count as errors of the list.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tl_train import train
from tl_train.config import TrainConfig
from tl_train.data.dataset import load_dataset
from tl_train.data.samples import Sample, labels_of
from tl_train.data.sources.reading import read_source
from tl_train.evaluation.label_errors import LabelErrors
from tl_train.progress import Progress
from tl_train.tables import write_csv

FIRST_SHARE = 0.1


def flip(samples: Sequence[Sample], classes: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which a share is replaced by another class, and which those are."""
    random = np.random.default_rng(seed)
    labels = labels_of(samples)
    chosen = random.permutation(len(samples))[: round(share * len(samples))]
    is_flipped = np.zeros(len(samples), bool)
    is_flipped[chosen] = True
    labels[chosen] = (labels[chosen] + random.integers(1, classes, len(chosen))) % classes
    return labels, is_flipped


def search(data: Path, arch: str, share: float, seed: int, folder: Path) -> tuple[LabelErrors, np.ndarray]:
    """The suspects of a run with flipped labels, and which training images were flipped."""
    config = TrainConfig.of(str(data), mode="head", arch=arch)
    dataset = load_dataset(config, read_source(config, Progress()), Progress())
    labels, is_flipped = flip(dataset.train, len(dataset.labels), share, seed)
    rows = [
        *((sample.where, dataset.labels[label], "train") for sample, label in zip(dataset.train, labels, strict=True)),
        *((sample.where, dataset.labels[sample.label], "test") for sample in dataset.test),
    ]
    write_csv(folder / "flipped.csv", ("path", "label", "split"), rows)
    result = train(TrainConfig.of(str(folder / "flipped.csv"), mode="head", arch=arch), folder / f"run{seed}")
    assert result.label_errors is not None
    return result.label_errors, is_flipped


def main() -> None:
    """Flip, look, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arch", default="efficientnet_lite0")
    given = parser.parse_args()
    found, precisions = [], []
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            errors, is_flipped = search(given.data, given.arch, given.share, seed, Path(folder))
        order = [suspect.index for suspect in errors.suspects]
        first = order[: round(FIRST_SHARE * len(is_flipped))]
        flipped = int(is_flipped.sum())
        found.append(is_flipped[first].sum() / flipped)
        precisions.append(is_flipped[order[:flipped]].sum() / flipped)
        print(
            f"seed {seed}: {flipped} of {len(is_flipped)} labels flipped; {found[-1]:.0%} of them among the first "
            f"{len(first)}; precision at {flipped}: {precisions[-1]:.2f}; {len(order)} suspects, estimated "
            f"{errors.estimated} wrong"
        )
        sys.stdout.flush()
    print(f"mean: {statistics.fmean(found):.1%} among the first {FIRST_SHARE:.0%}, "
          f"precision {statistics.fmean(precisions):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
