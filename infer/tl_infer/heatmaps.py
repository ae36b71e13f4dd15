"""Laying a heatmap over the image it came from.

The heatmap covers the network's input, which is not the image: `letterbox` and `pad` add borders, `crop` cuts some
off. docs/model-file.md says where an image goes; here that is followed back.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from tl_infer.images import Pixels
from tl_infer.model.contract import HALVES_BEFORE, PreprocessSpec
from tl_infer.results import Vector

_Positions = npt.NDArray[np.float64]

_STRENGTH = 0.6  # how much of the image the strongest place hides


def draw_overlay(pixels: Pixels, heatmap: Vector, preprocess: PreprocessSpec) -> Image.Image:
    """The image with its heatmap, from red to yellow; places that speak against the class stay as they are.

    Args:
        pixels: uint8 (H, W, 3), as given to the model.
        heatmap: float32 (h, w), as the model gave it.
        preprocess: of the model.

    Returns:
        An RGB image of the same size.

    """
    strength = spread(heatmap, (pixels.shape[0], pixels.shape[1]), preprocess)
    peak = float(strength.max())
    np.clip(strength / peak if peak > 0 else 0 * strength, 0, 1, out=strength)
    drawn = np.empty_like(pixels)
    for start in range(0, len(pixels), 256):  # by rows: a large photo must not need gigabytes
        rows = slice(start, start + 256)
        level = strength[rows]
        alpha = _STRENGTH * level[:, :, np.newaxis]
        color = np.stack([np.full_like(level, 255), 255 * level, np.zeros_like(level)], axis=-1)
        drawn[rows] = np.rint(pixels[rows] * (1 - alpha) + color * alpha)
    return Image.fromarray(drawn)


def spread(heatmap: Vector, shape: tuple[int, int], preprocess: PreprocessSpec) -> npt.NDArray[np.float32]:
    """The heatmap at each pixel of the image, bilinear; 0 where the network did not see it.

    Args:
        heatmap: float32 (h, w).
        shape: (H, W) of the image.
        preprocess: of the model.

    Returns:
        float32 (H, W).

    """
    rows, columns = _seen_at(shape, preprocess)
    down = _weights(rows, heatmap.shape[0])
    across = _weights(columns, heatmap.shape[1])
    result: npt.NDArray[np.float32] = np.asarray((down @ heatmap) @ across.T, dtype=np.float32)
    return result


def _seen_at(shape: tuple[int, int], preprocess: PreprocessSpec) -> tuple[_Positions, _Positions]:
    """Where the centre of each row and column lies in the network's input, 0..1; outside, it was not seen."""
    height, width = shape
    if preprocess.fit == "squash":
        placed = (float(preprocess.size[0]), float(preprocess.size[1]))
    elif preprocess.fit == "crop":
        assert preprocess.resize_px is not None
        scale = preprocess.resize_px / min(shape)
        placed = (height * scale, width * scale)
    else:
        scale = min(preprocess.size[0] / height, preprocess.size[1] / width)
        scale = min(scale, 1.0) if preprocess.fit == "pad" else scale
        placed = (height * scale, width * scale)
    halves = (1, 1) if preprocess.fit == "crop" else HALVES_BEFORE[preprocess.anchor]
    positions = []
    for length, length_placed, canvas, halves_before in zip(shape, placed, preprocess.size, halves, strict=True):
        start = (canvas - length_placed) * halves_before / 2
        positions.append((start + (np.arange(length) + 0.5) * length_placed / length) / canvas)
    return positions[0], positions[1]


def _weights(positions: _Positions, cells: int) -> npt.NDArray[np.float32]:
    """A row per position: the weight of each cell there."""
    weights = np.zeros((len(positions), cells), np.float32)
    place = np.clip(positions * cells - 0.5, 0, cells - 1)
    low = np.minimum(place.astype(np.int64), max(cells - 2, 0))
    seen = (positions >= 0) & (positions <= 1)
    part = place - low
    index = np.arange(len(positions))
    weights[index, low] = (1 - part) * seen
    if cells > 1:
        weights[index, low + 1] = part * seen
    return weights
