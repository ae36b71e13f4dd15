"""Where a heatmap lies on the picture, for every way that a picture can be placed."""

import dataclasses

import numpy as np
import pytest

from tl_infer.heatmaps import spread
from tl_infer.model.contract import PreprocessSpec

SQUASH = PreprocessSpec(size=(4, 4), mean=(0, 0, 0), std=(1, 1, 1))
# One cell per pixel of the network's input, its value the column.
COLUMNS = np.tile(np.arange(4, dtype=np.float32), (4, 1))


def test_squash_covers_the_whole_picture():
    seen = spread(COLUMNS, (4, 8), SQUASH)
    np.testing.assert_allclose(seen[0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    np.testing.assert_allclose(spread(COLUMNS, (4, 4), SQUASH), COLUMNS)
    np.testing.assert_allclose(spread(np.full((1, 1), 7, np.float32), (3, 5), SQUASH), np.full((3, 5), 7))


@pytest.mark.parametrize(("anchor", "columns"), [("center", [1, 2]), ("top-left", [0, 1]), ("bottom-right", [2, 3])])
def test_letterbox_leaves_out_the_borders(anchor, columns):
    spec = dataclasses.replace(SQUASH, fit="letterbox", anchor=anchor)
    np.testing.assert_allclose(spread(COLUMNS, (4, 2), spec), np.tile(columns, (4, 1)))


def test_pad_does_not_enlarge():
    spec = dataclasses.replace(SQUASH, fit="pad", anchor="top-right")
    np.testing.assert_allclose(spread(COLUMNS, (2, 2), spec), [[2, 3], [2, 3]])


def test_crop_did_not_see_the_ends():
    spec = dataclasses.replace(SQUASH, fit="crop", resize_px=4)
    np.testing.assert_allclose(spread(COLUMNS + 1, (4, 8), spec)[0], [0, 0, 1, 2, 3, 4, 0, 0])
