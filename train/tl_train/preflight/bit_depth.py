"""16-bit images that use few of their bits, as those of cameras of 10 or 12 bits: they come out nearly black."""

import collections
from collections.abc import Iterator, Sequence

from tl_infer.errors import ImageError
from tl_infer.images import open_image
from tl_infer.limits import FULL_DEPTH
from tl_infer.sixteen_bit import depth_advice, depth_used, is_sixteen_bit
from tl_infer.system.files import open_regular
from tl_infer.system.parallel import available_threads, ordered_map
from tl_train.data.looks import Looks
from tl_train.data.samples import Sample

# The formats that have 16 bits a channel, and where a PNG says so. Source: PNG specification, 11.2.1 (IHDR).
_PNG, _TIFF = b"\x89PNG\r\n\x1a\n", (b"II", b"MM")
_PNG_DEPTH_PLACE = 24


def depth_warning(samples: Sequence[Sample], looks: Looks) -> Iterator[str]:
    """What to say of a data set's 16-bit images, if they are too dark.

    Args:
        samples: the images.
        looks: a row for each.

    """
    depths = [depth_used(int(brightest)) for brightest in looks["brightest"]]
    dark = [sample for sample, depth in zip(samples, depths, strict=True) if depth < FULL_DEPTH]
    # Most data sets have no dark images, or none of 16 bits: then no file is opened again, or few are.
    if not any(_are_sixteen_bit(dark)):
        return
    deep = _are_sixteen_bit(samples)
    counts = collections.Counter(depth for depth, is_deep in zip(depths, deep, strict=True) if is_deep)
    if advice := depth_advice(counts):
        yield advice


def _are_sixteen_bit(samples: Sequence[Sample]) -> Iterator[bool]:
    return ordered_map(_is_sixteen_bit, samples, available_threads())


def _is_sixteen_bit(sample: Sample) -> bool:
    """Whether an image is a file of 16 bits a channel, all of which are taken for used."""
    if sample.path is None or sample.limits.depth < FULL_DEPTH:
        return False
    try:
        with open_regular(sample.path) as file:
            start = file.read(_PNG_DEPTH_PLACE + 1)
        if start.startswith(_PNG):  # which need not be read whole
            return start[_PNG_DEPTH_PLACE:] == b"\x10"
        if not start.startswith(_TIFF):
            return False
        with open_image(sample.content(), sample.name, sample.limits) as image:
            return is_sixteen_bit(image)
    except (OSError, ImageError):  # it could be read a moment ago
        return False
