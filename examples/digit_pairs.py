"""Pictures with two digits each, and a list of both: a data set for `tl-train --multi-label`, made without a download.

    python examples/digit_pairs.py pairs/

scikit-learn's 1797 scanned digits are divided first, a fifth of each for testing, so that no scan is in both parts.
Each picture has two different digits side by side, a little off their places; `pairs/labels.csv` lists it with both
and its part.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import sklearn.datasets
from PIL import Image
from sklearn.model_selection import train_test_split

SEED = 0
SCALE = 6  # a scan has 8 x 8 pixels
WIDTH, HEIGHT = 120, 84


def main() -> None:
    """Draw the pictures and write the list."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--train", type=int, default=2000, help="pictures to train on  [default: 2000]")
    parser.add_argument("--test", type=int, default=500, help="pictures to test on  [default: 500]")
    arguments = parser.parse_args()
    if arguments.folder.exists():
        parser.error(f"{arguments.folder}: exists already; give a new folder")
    arguments.folder.mkdir(parents=True)
    found = sklearn.datasets.load_digits()
    scans = np.rint(found.images * (255 / 16)).astype(np.uint8)
    parts = train_test_split(scans, found.target, test_size=0.2, stratify=found.target, random_state=SEED)
    random = np.random.default_rng(SEED)
    rows = []
    for part, count, of_part, labels in (("train", arguments.train, parts[0], parts[2]),
                                         ("test", arguments.test, parts[1], parts[3])):  # fmt: skip
        for number in range(count):
            first, second = pair(labels, random)
            name = f"{part}-{number:04d}.png"
            side_by_side(of_part[first], of_part[second], random).save(arguments.folder / name)
            rows.append((name, "|".join(sorted((str(labels[first]), str(labels[second])))), part))
    with (arguments.folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "labels", "split"), *rows])
    print(f"{len(rows)} pictures and labels.csv in {arguments.folder}")


def pair(labels: np.ndarray, random: np.random.Generator) -> tuple[int, int]:
    """Two scans of different digits."""
    while True:
        first, second = random.integers(0, len(labels), 2)
        if labels[first] != labels[second]:
            return int(first), int(second)


def side_by_side(left: np.ndarray, right: np.ndarray, random: np.random.Generator) -> Image.Image:
    """A black picture with two scans, each a little off its place."""
    picture = Image.new("L", (WIDTH, HEIGHT))
    for column, scan in enumerate((left, right)):
        digit = Image.fromarray(scan).resize((8 * SCALE, 8 * SCALE), Image.Resampling.BICUBIC)
        space = (WIDTH // 2 - digit.width, HEIGHT - digit.height)
        x, y = (int(random.integers(0, free + 1)) for free in space)
        picture.paste(digit, (column * WIDTH // 2 + x, y))
    return picture


if __name__ == "__main__":
    main()
