"""Synthetic photos in class folders, to try the programs on as many as people bring.

    python benchmarks/make_photos.py 20000 /tmp/photos-20000 [--classes 20]

JPEGs of about 500 x 375 pixels and 40 kB. A class is a palette and a shape on a cluttered ground, so that a head can
learn it; every photo is another one. The same arguments make the same files.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZES = ((500, 375), (375, 500), (480, 360), (500, 333))
GROUND_PX = 24  # the ground is that many random cells across, enlarged


def draw(number: int, classes: int) -> Image.Image:
    """The photo of that number; its class is `number % classes`."""
    random = np.random.default_rng(number)
    label = number % classes
    size = SIZES[int(random.integers(len(SIZES)))]
    cells = random.integers(0, 256, (GROUND_PX * size[1] // size[0], GROUND_PX, 3), dtype=np.uint8)
    photo = Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC)
    brush = ImageDraw.Draw(photo)
    color = tuple(int(level) for level in np.random.default_rng(label).integers(0, 256, 3))
    for _ in range(4):
        x, y = (int(random.integers(0, side - 60)) for side in size)
        side = int(random.integers(60, 160))
        brush.regular_polygon((x + side / 2, y + side / 2, side / 2), 3 + label % 6, int(random.integers(360)), color)
    noise = random.integers(-12, 13, (size[1], size[0], 1), dtype=np.int16)
    return Image.fromarray(np.clip(np.asarray(photo, np.int16) + noise, 0, 255).astype(np.uint8))


def save(number: int, classes: int, folder: Path) -> None:
    """Draw a photo and write it to the folder of its class."""
    draw(number, classes).save(folder / f"class{number % classes:03}" / f"{number:06}.jpg", quality=85)


def main() -> None:
    """Make the folders and fill them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, default=20)
    options = parser.parse_args()
    for label in range(options.classes):
        (options.folder / f"class{label:03}").mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        write = partial(save, classes=options.classes, folder=options.folder)
        for done, _ in enumerate(pool.map(write, range(options.count), chunksize=100), start=1):
            if done % 1000 == 0:
                print(f"\r{done} of {options.count}", end="", flush=True)
    print(f"\r{options.count} photos in {options.classes} classes: {options.folder}")


if __name__ == "__main__":
    main()
