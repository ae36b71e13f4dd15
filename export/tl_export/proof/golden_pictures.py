"""The images of the golden samples: small copies of real ones, and two made to be hard to get right."""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from tl_infer.images import Pixels
from tl_infer.model.contract import PreprocessSpec

LONGEST_SIDE_PX = 64

# Width to height of the samples; a natural image within a tenth of square counts as square.
_ASPECTS = {"landscape": (4, 3), "portrait": (3, 4), "square": (1, 1)}
_SQUARE = 1.1

# An odd factor: a resize that does not average then takes exactly the pixel in the middle of each block.
_SHRINK = 3
_PATTERN_PX = 24
# Height and width: landscape, portrait, square, and one more for the grey sample.
_PATTERN_SIZES = ((192, 256), (256, 192), (224, 224), (160, 240))
_PATTERN_LEVELS = 32  # steps between the levels of the fine pattern, which keep its file small


def sample_pictures(sources: Sequence[Pixels], preprocess: PreprocessSpec) -> list[tuple[str, bytes]]:
    """The golden samples' names and PNG files.

    Args:
        sources: real images, uint8 (H, W, 3), one or more, neighbours of different classes where possible.
        preprocess: decides from what size on an image is shrunk.

    Returns:
        A landscape, a portrait and a square image, a grey one, one whose channels come from different images, and a
        fine pattern that is a different image to a resize without antialiasing.

    """
    unused = [Image.fromarray(source) for source in sources]
    chosen: dict[str, Image.Image] = {}
    for name in _ASPECTS:
        chosen[name] = _take(unused, name) if unused else chosen["landscape"]
    chosen["grey"] = unused.pop(0) if unused else chosen["square"]
    shrunk = {name: _small(picture, name) for name, picture in chosen.items()}
    shrunk["grey"] = shrunk["grey"].convert("L")
    first, second, third = (chosen[name] for name in _ASPECTS)
    shrunk["mixed channels"] = _mixed_channels(first, second, third)
    shrunk["fine pattern"] = _fine_pattern(first, second, preprocess)
    return [(name, _png(picture)) for name, picture in shrunk.items()]


def synthetic_pictures() -> list[Pixels]:
    """Drawn patterns in place of real images: colour gradients, stripes and discs; always the same ones."""
    return [_pattern(height, width, number) for number, (height, width) in enumerate(_PATTERN_SIZES)]


def _pattern(height: int, width: int, number: int) -> Pixels:
    """A colour gradient with stripes over it and a disc of another colour."""
    y, x = np.mgrid[0:height, 0:width]
    run = np.stack([255 * x // width, 255 * y // height, 255 - 255 * x // width], axis=-1)
    stripes = np.roll(run, number, axis=-1) // (1 + (x // (4 + 2 * number) % 2))[..., np.newaxis]
    disc = (x - width // 2) ** 2 + (y - height // 2) ** 2 < (min(height, width) // 3) ** 2
    color = np.roll([220, 130, 30], number)
    result: Pixels = np.where(disc[..., np.newaxis], color, stripes).astype(np.uint8)
    return result


def _take(unused: list[Image.Image], aspect: str) -> Image.Image:
    """The first image that has the aspect by nature, else the first."""
    fitting = [place for place, picture in enumerate(unused) if _aspect_of(picture) == aspect]
    return unused.pop(fitting[0] if fitting else 0)


def _aspect_of(picture: Image.Image) -> str:
    ratio = picture.width / picture.height
    if ratio >= _SQUARE:
        return "landscape"
    return "portrait" if ratio <= 1 / _SQUARE else "square"


def _small(picture: Image.Image, aspect: str) -> Image.Image:
    """A copy of at most `LONGEST_SIDE_PX`, cut to the aspect if it has another."""
    if aspect in _ASPECTS and _aspect_of(picture) != aspect:
        across, down = _ASPECTS[aspect]
        unit = max(1, min(picture.width // across, picture.height // down))
        picture = ImageOps.fit(picture, (across * unit, down * unit))
    small = picture.copy()
    small.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.BOX, reducing_gap=None)
    return small


def _mixed_channels(red: Image.Image, green: Image.Image, blue: Image.Image) -> Image.Image:
    """One image per channel, the blue one negative: colourful, whatever the images are."""
    side = (LONGEST_SIDE_PX, LONGEST_SIDE_PX)
    bands = [picture.convert("L").resize(side, Image.Resampling.BILINEAR) for picture in (red, green, blue)]
    return Image.merge("RGB", (bands[0], bands[1], ImageOps.invert(bands[2])))


def _fine_pattern(middle: Image.Image, around: Image.Image, preprocess: PreprocessSpec) -> Image.Image:
    """Blocks of 3 x 3 pixels, the middle one from one image, the eight around it from the other's negative.

    Shrunk to a third with antialiasing it is mostly the second image; without, it is the first alone.
    """
    height, width = preprocess.size
    if preprocess.resize_px is not None:
        height = width = preprocess.resize_px
    coarse = [_coarse(picture, height, width) for picture in (middle, ImageOps.invert(around))]
    pattern = coarse[1].repeat(_SHRINK, axis=0).repeat(_SHRINK, axis=1)
    pattern[_SHRINK // 2 :: _SHRINK, _SHRINK // 2 :: _SHRINK] = coarse[0]
    return Image.fromarray(pattern)


def _coarse(picture: Image.Image, height: int, width: int) -> npt.NDArray[np.uint8]:
    small = picture.resize((_PATTERN_PX, _PATTERN_PX), Image.Resampling.BOX)
    levels = np.asarray(small) // _PATTERN_LEVELS * _PATTERN_LEVELS
    large = Image.fromarray(levels.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
    return np.array(large)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
