"""Files to start from: one good one of each form, and those that once did harm, small enough to be changed often."""

import io
import json

import numpy as np
from PIL import Image

from attacks import gif_and_bmp_files, jpeg_files, model_files, png_files, tiff_files
from attacks.jpeg_files import photo
from support import onnx_bytes

_SMALL = photo(24, 17)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg() -> list[bytes]:
    """JPEG files."""
    exif = Image.Exif()
    exif[0x0112] = 6
    progressive = _encoded(_SMALL, "JPEG", progressive=True)
    return [
        _encoded(_SMALL, "JPEG"), _encoded(_SMALL.convert("L"), "JPEG", optimize=True), progressive,
        _encoded(_SMALL.convert("CMYK"), "JPEG"), _encoded(_SMALL, "JPEG", exif=exif, restart_marker_blocks=1),
        jpeg_files.many_scans(progressive, 30), jpeg_files.scans_behind_a_reserved_marker(5, 64),
        jpeg_files.exif_segments(3, 20), jpeg_files.empty_comments(30), jpeg_files.without_last_scans(progressive, 2),
        jpeg_files.cut_and_ended(progressive, len(progressive) // 2),
    ]  # fmt: skip


def images() -> list[bytes]:
    """Files of every format that is read."""
    rgba = _SMALL.convert("RGBA")
    rgba.putalpha(100)
    deep = Image.fromarray((np.arange(64, dtype=np.uint16) * 64).reshape(8, 8))
    floats = Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    return [
        *jpeg(),
        *(_encoded(image, "PNG") for image in (_SMALL, rgba, deep, _SMALL.quantize(8), _SMALL.convert("1"))),
        _encoded(_SMALL, "WEBP"), _encoded(rgba, "WEBP", lossless=True), _encoded(_SMALL.quantize(9), "GIF"),
        _encoded(_SMALL, "BMP"), _encoded(_SMALL.quantize(4), "BMP"), _encoded(deep, "TIFF"), _encoded(floats, "TIFF"),
        *(_encoded(_SMALL, "TIFF", compression=kind) for kind in (None, "tiff_lzw", "tiff_deflate", "jpeg")),
        _encoded(_SMALL.convert("1"), "TIFF", compression="group4"), _encoded(_SMALL, "TIFF", big_tiff=True),
        _encoded(_SMALL, "TIFF", compression="tiff_lzw", tiffinfo={322: 16, 323: 16}), tiff_files.old_jpeg(24, 17),
        tiff_files.huge_tile(16, 64, stored_rows=64), tiff_files.huge_tile(), tiff_files.many_strips(20),
        tiff_files.two_widths(16, 20), tiff_files.long_tag(20), tiff_files.many_odd_tags(5),
        gif_and_bmp_files.many_comments(9), gif_and_bmp_files.run_length_encoded(9, 5), png_files.many_chunks(5),
        png_files.cut_and_ended(_encoded(_SMALL, "PNG"), 300),
    ]  # fmt: skip


def models() -> list[bytes]:
    """Model files."""
    return [
        onnx_bytes.color_model(), onnx_bytes.color_model(extras=True, golden=onnx_bytes.golden_set()),
        onnx_bytes.color_model(external=True), model_files.EMPTY_LOCATION, model_files.five_times_as_sure_of_red(),
        model_files.more_columns_for_taller_images(), model_files.wider_embedding_for_wider_images(),
    ]  # fmt: skip


def records() -> list[bytes]:
    """Metadata of model files."""
    texts = [onnx_bytes.SPEC.to_json(), onnx_bytes.abstaining_spec(0.5), onnx_bytes.golden_set(), "{}", "[]"]
    texts += [model_files.nested(depth) for depth in (5, 973, 100_000)]
    texts += [onnx_bytes.SPEC.to_json().replace('"red"', text) for text in ('"\\ud83d"', "NaN", "1e999", "9" * 5000)]
    return [text.encode() for text in texts]


def csv() -> list[bytes]:
    """Lists of images."""
    return [
        b"path,label\na.png,cat\nb.png,dog\n", b"image;class;split;group\r\na.png;cat;train;1\r\nb.png;dog;test;2\r\n",
        b"\xef\xbb\xbfpath\tlabel\na.png\tc\xc3\xa4t\nb.png\tdog\n", b"sep=;\npath;label\na.png;cat\nb.png;dog\n",
        b"a.png,cat\nb.png,dog\n", b'path,label\n"a.png","cat ""x"""\n', b"path,label\na.png," + b"x" * 200_000 + b"\n",
        b"path,label\n\0,cat\n", b"path,label\n" + b"/" * 5000 + b"x.png,cat\n",
    ]  # fmt: skip


def toml() -> list[bytes]:
    """Recipes."""
    return [
        b'# A recipe.\nextends = "frozen"\nepochs = 3\nlr = 1e-3\nsize = "64x96"\n', b'mode = "full"\nseed = 1\n',
        b"seed = " + b"9" * 5000 + b"\n", b"a = " + b"[" * 2000 + b"]" * 2000 + b"\n", b'extends = "recipe.toml"\n',
        b"a = " + b"{a=" * 500 + b"1" + b"}" * 500 + b"\n", b"[data]\nx = 1\n", json.dumps({"a": 1}).encode(),
    ]  # fmt: skip
