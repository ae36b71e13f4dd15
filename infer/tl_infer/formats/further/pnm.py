"""PBM, PGM and PPM files, decoded here: what is not 8 or 16 bits, and all plain text, Pillow decodes in Python.

Source: the manual pages pbm(5), pgm(5) and ppm(5) of Netpbm.
"""

import dataclasses
import re
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from tl_infer.errors import ImageError
from tl_infer.limits import FULL_DEPTH, Limits
from tl_infer.sixteen_bit import grey_levels

MAX_TEXT_BYTES: Final = 20_000_000  # of a plain file, whose numbers take more memory than their digits
_MAX_HEADER_BYTES: Final = 10_000
_GAP: Final = rb"(?:[ \t\n\v\f\r]|#[^\n\r]*[\n\r])"
_NUMBER: Final = _GAP + rb"+([0-9]{1,9})"
_HEADER: Final = re.compile(rb"P(?:[14]%b%b|[2356]%b%b%b)[ \t\n\v\f\r]" % (*[_NUMBER] * 2, *[_NUMBER] * 3))
_TEXT: Final = b" \t\n\v\f\r0123456789"
_SPACES: Final = b" \t\n\v\f\r"

Values = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, slots=True)
class _Header:
    """What stands before the values.

    Attributes:
        is_text: the values are decimal numbers.
        is_bitmap: they are bits, of which 1 is black.
        channels: 1 or 3.
        width, height: pixels.
        most: the highest value.
        end: where the values begin.

    """

    is_text: bool
    is_bitmap: bool
    channels: int
    width: int
    height: int
    most: int
    end: int


def check_header(data: bytes, where: str, limits: Limits) -> _Header:
    """The header, once its size is within the limits.

    Raises:
        ImageError: damaged, or text that is too long.
        ImageTooLargeError: too many pixels.

    """
    found = _HEADER.match(data[:_MAX_HEADER_BYTES])
    if found is None:
        raise ImageError(where, "damaged image: it is truncated, or its PNM header is damaged")
    width, height, *rest = (int(number) for number in found.groups() if number is not None)
    limits.check_pixels(width, height, where)
    kind = data[1:2]
    most = rest[0] if rest else 1
    if not 1 <= most <= 65_535:
        raise ImageError(where, f"damaged image: a highest value of {most}, expected 1 to 65535")
    if kind in b"123" and len(data) > MAX_TEXT_BYTES:
        raise ImageError(where, f"a plain PNM file of {len(data)} bytes, the limit is {MAX_TEXT_BYTES}")
    return _Header(kind in b"123", kind in b"14", 3 if kind in b"36" else 1, width, height, most, found.end())


def read_pnm(data: bytes, where: str, limits: Limits) -> Image.Image:
    """The image, grey or RGB; grey of 16 bits keeps them all.

    Raises:
        ImageError: as `check_header`; truncated, or a value is above the highest one.

    """
    header = check_header(data, where, limits)
    values = _values(data, header, where).reshape(header.height, header.width, header.channels)
    if header.is_bitmap:
        return Image.fromarray(np.where(values[..., 0], np.uint8(0), np.uint8(255)))
    if header.most != 255 and values.max() > header.most:
        raise ImageError(where, f"damaged image: a value of {values.max()}, the highest is {header.most}")
    if header.most == 65_535:
        return _from_sixteen_bits(values, where, limits)
    if header.most != 255:
        scaled = np.arange(header.most + 1, dtype=np.uint32) * 255 + header.most // 2
        values = (scaled // header.most).astype(np.uint8)[values]
    return Image.fromarray(np.ascontiguousarray(values[..., 0] if header.channels == 1 else values, np.uint8))


def _from_sixteen_bits(values: Values, where: str, limits: Limits) -> Image.Image:
    if values.shape[2] == 1:
        return Image.fromarray(np.ascontiguousarray(values[..., 0], np.uint16))
    if limits.depth < FULL_DEPTH:
        return Image.fromarray(grey_levels(values, limits.depth, where))
    return Image.fromarray((values >> 8).astype(np.uint8))


def _values(data: bytes, header: _Header, where: str) -> Values:
    if header.is_text:
        return _text_values(data[header.end :], header, where)
    if header.is_bitmap:
        row_bytes = -(-header.width // 8)
        packed = _raw(data, header, row_bytes * header.height, np.dtype(np.uint8), where)
        return np.unpackbits(packed.reshape(header.height, row_bytes), axis=1)[:, : header.width]
    count = header.width * header.height * header.channels
    return _raw(data, header, count, np.dtype(np.uint8 if header.most < 256 else ">u2"), where)


def _raw(data: bytes, header: _Header, count: int, dtype: np.dtype[Any], where: str) -> Values:
    if header.end + count * dtype.itemsize > len(data):
        raise ImageError(where, "damaged image: it is truncated: pixels are missing")
    return np.frombuffer(data, dtype, count, header.end)


def _text_values(text: bytes, header: _Header, where: str) -> Values:
    if text.translate(None, _TEXT):
        raise ImageError(where, "damaged image: its values are no decimal numbers")
    count = header.width * header.height * header.channels
    values: Values
    if header.is_bitmap:  # digits without anything between them
        values = np.frombuffer(text.translate(None, _SPACES), np.uint8)[:count] - ord("0")
    else:
        values = np.fromstring(text.decode("ascii"), np.int64, sep=" ")[:count]
    if len(values) < count:
        raise ImageError(where, "damaged image: it is truncated: pixels are missing")
    if values.max() > header.most:
        raise ImageError(where, f"damaged image: a value of {values.max()}, the highest is {header.most}")
    return values.astype(np.uint16)
