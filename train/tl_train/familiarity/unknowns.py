"""Images of nothing that anybody trains on: what a model should find unfamiliar, whatever its classes are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from tl_infer.images import Pixels
from tl_infer.system.finding import find_files
from tl_train.errors import ConfigError

_HEIGHT_PX, _WIDTH_PX = 180, 240
_LETTERS = tuple("abcdefghijklmnopqrstuvwxyz      ")


def built_in_unknowns(count: int, labels: Sequence[str]) -> Mapping[str, Sequence[Pixels]]:
    """Noise, blank images, pages of text and scanned digits, `count` of each; always the same ones.

    Args:
        count: of each.
        labels: of the model; digits are left out where they are its classes.

    """
    random = np.random.default_rng(0)
    sets = {
        "noise": [_noise(random, number) for number in range(count)],
        "blank": [_blank(random) for _ in range(count)],
        "text": [_text(random) for _ in range(count)],
    }
    if not {str(digit) for digit in range(10)}.intersection(labels):
        sets["digits"] = _digits(count)
    return sets


def unknown_files(folder: str) -> list[Path]:
    """The files of a folder that the user says shows unknown images; none for "".

    Raises:
        ConfigError: it is no folder.
        InputPathError: it has no files.

    """
    if not folder:
        return []
    if not Path(folder).is_dir():
        raise ConfigError(f"unknown: found {folder}, expected a folder of images that show none of the classes")
    return find_files([folder])


def _noise(random: np.random.Generator, number: int) -> Pixels:
    """Uniform noise in colour, of grains from 1 to 8 pixels."""
    grain = 2 ** (number % 4)
    grains = random.integers(0, 256, (_HEIGHT_PX // grain, _WIDTH_PX // grain, 3), np.uint8)
    return np.ascontiguousarray(grains.repeat(grain, axis=0).repeat(grain, axis=1))


def _blank(random: np.random.Generator) -> Pixels:
    """One colour with a trace of noise, as of a covered lens or an empty wall."""
    level = random.integers(0, 256, 3)
    noise = random.normal(0, 2, (_HEIGHT_PX, _WIDTH_PX, 3))
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def _text(random: np.random.Generator) -> Pixels:
    """Dark letters on light paper."""
    paper = tuple(random.integers(200, 256, 3).tolist())
    page = Image.new("RGB", (_WIDTH_PX, _HEIGHT_PX), paper)
    size = int(random.integers(9, 20))
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(page)
    for top in range(6, _HEIGHT_PX - size, size + 5):
        line = "".join(random.choice(_LETTERS, 2 * _WIDTH_PX // size))
        draw.text((6, top), line, font=font, fill=tuple(random.integers(0, 90, 3).tolist()))
    return np.asarray(page)


def _digits(count: int) -> list[Pixels]:
    """Some of scikit-learn's scanned digits, 8 x 8 grey."""
    import sklearn.datasets

    images: npt.NDArray[np.float64] = sklearn.datasets.load_digits().images[:count]
    grays = np.rint(images * (255 / 16)).astype(np.uint8)  # stored as 0..16
    return [np.repeat(gray[:, :, np.newaxis], 3, axis=2) for gray in grays]
