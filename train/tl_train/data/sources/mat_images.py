"""The images of a `.mat` file as a source: one variable per class, one image per column."""

from pathlib import Path

import numpy as np

from tl_infer.images import Pixels
from tl_train.data.samples import Sample, Source
from tl_train.data.sources.mat_file import MatLayout, read_mat
from tl_train.errors import ConfigError, DataError


def read_mat_images(path: Path, layout: MatLayout) -> Source:
    """The images of a file with one variable for each of two or more classes.

    Raises:
        ConfigError: fewer than two variables.
        DataError: as for `read_mat`, or a variable of another size than the layout says.

    """
    if len(layout.keys) < 2:
        raise ConfigError(f"mat_keys: found one class only ('{layout.keys[0]}'), expected two or more, such as dog,cat")
    samples = []
    for label, (key, columns) in enumerate(zip(layout.keys, read_mat(path, layout.keys), strict=True)):
        samples += images_of_variable(path, layout, key, label, columns)
    return Source(layout.keys, samples)


def images_of_variable(path: Path, layout: MatLayout, key: str, label: int, columns: Pixels) -> list[Sample]:
    """The images of one variable, one per column."""
    rows, count = columns.shape
    if rows != layout.height * layout.width or not count:
        hint = "; its rows seem to be the images: transpose it" if count == layout.height * layout.width else ""
        raise DataError(
            f"{path}: variable '{key}' is {rows}x{count}, expected {layout.height * layout.width} rows "
            f"({layout.height}x{layout.width} pixels) and a column per image{hint}"
        )
    digits = max(2, len(str(count - 1)))
    return [
        Sample(f"{key}-{i:0{digits}d}", label, pixels=gray_to_rgb(gray))
        for i, gray in enumerate(layout.images(columns))
    ]


def gray_to_rgb(gray: Pixels) -> Pixels:
    """Grey levels (H, W) as three equal channels (H, W, 3)."""
    return np.repeat(gray[:, :, np.newaxis], 3, axis=2)
