import sys

import numpy as np
import pytest

from attacks.further_files import box, encoded
from attacks.jpeg_files import photo
from tl_infer import ImageError, Limits, load_image
from tl_infer.formats.further.recognise import further_format
from tl_infer.limits import FURTHER_FORMATS, parse_formats

FILES = {
    "avif": encoded(photo(), "AVIF"),
    "heic": box(b"ftyp", b"mif1", bytes(4), b"mif1", b"heic"),
    "jpeg2000": encoded(photo(), "JPEG2000"),
    "pnm": encoded(photo(), "PPM"),
    "tga": encoded(photo(), "TGA"),
}


@pytest.mark.parametrize("name", FURTHER_FORMATS)
def test_a_format_that_is_not_asked_for_is_named_with_the_option(name, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(FILES[name])
    others = tuple(other for other in FURTHER_FORMATS if other not in (name, "heic"))
    for limits in (Limits(), Limits(formats=others)):
        with pytest.raises(
            ImageError, match=f"images are read only if asked for: --formats {name}, or Limits"
        ) as found:
            load_image(path, limits)
        assert str(found.value).startswith(f"{path}: ")
        assert len(str(found.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "ICO", "PCX", "SGI", "DDS", "PDF"])
def test_no_other_file_is_taken_for_one(kind):
    assert further_format(encoded(photo(), kind)) is None


@pytest.mark.parametrize("name", [name for name in FURTHER_FORMATS if name != "heic"])
def test_what_is_asked_for_is_read_also_in_another_process(name):
    limits = Limits(formats=(name,))
    here = load_image(FILES[name], limits)
    assert here.shape == (48, 64, 3)
    np.testing.assert_array_equal(load_image(FILES[name], Limits(formats=(name,), isolate=True)), here)
    with pytest.raises(ImageError, match="truncated"):
        load_image(FILES[name][:-100], Limits(formats=(name,), isolate=True))


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        (("ppm",), "formats: found 'ppm', expected of avif, heic, jpeg2000, pnm, tga"),
        ("avif", "formats: found 'avif', expected a tuple of avif"),
        (["avif"], "formats: found .'avif'., expected a tuple of avif"),
    ],
)
def test_unknown_names_are_refused(formats, message):
    with pytest.raises(ValueError, match=message):
        Limits(formats=formats)


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(
        ValueError, match=r"formats: heic needs a library; install it with: pip install 'tl-toolkit\[heif\]'"
    ):
        Limits(formats=("heic",))
    monkeypatch.setattr("PIL.features.check", lambda feature: feature != "avif")
    with pytest.raises(ValueError, match="formats: the installed Pillow is built without avif"):
        Limits(formats=("avif",))
    assert Limits(formats=("jpeg2000",))


def test_names_are_read_from_a_text():
    assert parse_formats("") == ()
    assert parse_formats(" TGA, avif,tga ,") == ("avif", "tga")
    assert parse_formats("bmp,pnm,xyz") == ("pnm", "bmp", "xyz")
