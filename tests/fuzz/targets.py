"""What each parser may do with any bytes; anything else that it raises is a finding."""

import contextlib
import dataclasses
import importlib.util
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from fuzz import corpus
from tl_infer import Classifier, ImageError, Limits, ModelFileError, ModelSpec, load_image
from tl_infer.formats.jpeg import read_outline
from tl_infer.limits import FURTHER_FORMATS
from tl_infer.model.golden import GoldenSet
from tl_infer.model.wire import read_contents

_LIMITS = Limits(max_pixels=1_000_000)
_SCANS = 20
_LIBRARIES = {"heic": "pillow_heif"}  # without which a format is not asked for
_AVAILABLE = tuple(name for name in FURTHER_FORMATS if importlib.util.find_spec(_LIBRARIES.get(name, "PIL")))
_WITH_FURTHER = dataclasses.replace(_LIMITS, formats=_AVAILABLE)


@dataclasses.dataclass(frozen=True)
class Target:
    """A parser.

    Attributes:
        run: gives it bytes; raises for a finding only.
        corpus: files to change.

    """

    run: Callable[[bytes], None]
    corpus: Callable[[], list[bytes]]


def images(data: bytes) -> None:
    """A picture within the limits, or one `ImageError` of one line."""
    for limits, fast_for_px in ((_LIMITS, None), (dataclasses.replace(_LIMITS, bit_depth=12), 8)):
        try:
            pixels = load_image(data, limits, fast_for_px=fast_for_px)
        except ImageError as error:
            _expect(len(error.reason.splitlines()) == 1, error.reason)
        else:
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.flags.c_contiguous
            assert pixels.shape[0] * pixels.shape[1] <= _LIMITS.max_pixels


def further(data: bytes) -> None:
    """As `images`, with all formats that are read only if asked for."""
    try:
        pixels = load_image(data, _WITH_FURTHER)
    except ImageError as error:
        _expect(len(error.reason.splitlines()) == 1, error.reason)
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape[0] * pixels.shape[1] <= _LIMITS.max_pixels


def jpeg(data: bytes) -> None:
    """An outline whose parts lie in the file in order, or an `ImageError`."""
    try:
        outline = read_outline(data, "it", _SCANS)
    except ImageError:
        return
    places = [place for scan in outline.scans for place in (scan.start, scan.end)]
    if outline.end is not None:
        places.append(outline.end)
        assert data[outline.end : outline.end + 2] == b"\xff\xd9"
    assert places == sorted(places), places
    assert len(outline.scans) <= _SCANS


def wire(data: bytes) -> None:
    """What is in the file, or a `ValueError` that names the byte; a Classifier, or a `ModelFileError`."""
    try:
        read_contents(data)
    except ValueError as error:
        _expect(str(error).startswith("byte "), error)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(ModelFileError):
        Classifier(data, threads=1).close()
    _expect(not printed.getvalue(), printed.getvalue())


def records(data: bytes) -> None:
    """A spec that can be written again, or a `ModelFileError` of one line."""
    text = data.decode("utf-8", "replace")
    for read in (ModelSpec.from_json, lambda text: GoldenSet.from_json(text, 3)):
        try:
            found = read(text)
        except ModelFileError as error:
            _expect(len(str(error).splitlines()) == 1, error)
        else:
            found.to_json().encode()


def csv(data: bytes) -> None:
    """A list of images, or an error of tl-train."""
    from tl_infer import TlError
    from tl_train.config.data import DataConfig
    from tl_train.data.sources.csv_list import read_csv
    from tl_train.progress import Progress

    with _file("list.csv", data) as path, contextlib.suppress(TlError):
        read_csv(path, DataConfig(source=str(path)), Progress())


def toml(data: bytes) -> None:
    """The fields of a recipe and a configuration of them, or an error of tl-train."""
    from tl_infer import TlError
    from tl_train import TrainConfig
    from tl_train.recipes import load_recipe

    with _file("recipe.toml", data) as path, contextlib.suppress(TlError):
        TrainConfig.of("somewhere", **load_recipe(str(path)))


def _expect(holds: bool, found: object) -> None:
    if not holds:
        raise AssertionError(found)


@contextlib.contextmanager
def _file(name: str, data: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        for image in ("a.png", "b.png"):
            (path.parent / image).write_bytes(b"")
        yield path


TARGETS = {
    "images": Target(images, corpus.images),
    "further": Target(further, corpus.further),
    "jpeg": Target(jpeg, corpus.jpeg),
    "wire": Target(wire, corpus.models),
    "records": Target(records, corpus.records),
    "csv": Target(csv, corpus.csv),
    "toml": Target(toml, corpus.toml),
}
RUNTIME_TARGETS = ("images", "further", "jpeg", "wire", "records")  # that need nothing but the runtime
