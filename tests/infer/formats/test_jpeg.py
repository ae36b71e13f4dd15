import io
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from attacks import jpeg_files
from attacks.jpeg_files import encoded, photo
from support.pictures import SHARED
from tl_infer import ImageError, Limits, load_image
from tl_infer.formats.jpeg import MAX_SEGMENTS, read_outline

PROGRESSIVE = encoded(photo(), progressive=True)
FORMS = {
    "baseline": {},
    "no subsampling": {"subsampling": 0},
    "own code tables": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "restarts, progressive": {"progressive": True, "restart_marker_rows": 1},
}


def scans(data: bytes) -> int:
    return len(read_outline(data, "it", 10_000).scans)


def test_scans_are_counted():
    ten = scans(PROGRESSIVE)
    assert 6 <= ten <= 12
    assert scans(encoded(photo())) == 1
    assert scans(jpeg_files.many_scans(PROGRESSIVE, 50)) == ten + 49


def test_a_jpeg_of_thousands_of_scans_is_refused_at_once():
    bomb = jpeg_files.many_scans(encoded(Image.new("RGB", (3000, 3000)), progressive=True), 5000)
    started = time.process_time()
    with pytest.raises(ImageError, match="a JPEG of more than 100 scans, the limit"):
        load_image(bomb)
    assert time.process_time() - started < 0.5
    assert load_image(PROGRESSIVE, Limits(max_scans=20)).shape == (48, 64, 3)
    with pytest.raises(ImageError, match="more than 3 scans"):
        load_image(PROGRESSIVE, Limits(max_scans=3))


def test_a_film_behind_the_picture_and_its_thumbnail_are_no_scans():
    thumbnail = b"\xff\xe1" + (2 + 400).to_bytes(2, "big") + b"\xff\xda" * 200
    photo = PROGRESSIVE[:2] + thumbnail + PROGRESSIVE[2:] + b"\xff\xda\x00\x02" * 500
    assert scans(photo) == scans(PROGRESSIVE)
    np.testing.assert_array_equal(load_image(photo), load_image(PROGRESSIVE))


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_counting_scans_ends_for_any_bytes(data):
    try:
        assert scans(b"\xff\xd8" + data) <= data.count(b"\xff\xda")
    except ImageError as error:
        assert "ends before its first scan" in str(error)  # noqa: PT017 - either outcome is right


def refused(data: bytes, match: str) -> None:
    """Refused before it is decoded."""
    started = time.process_time()
    with pytest.raises(ImageError, match=match):
        load_image(data)
    assert time.process_time() - started < 0.5


def test_a_reserved_marker_hides_no_scans():
    refused(jpeg_files.scans_behind_a_reserved_marker(2000), "a JPEG of more than 100 scans, the limit")
    few = jpeg_files.scans_behind_a_reserved_marker(5)
    assert scans(few) == few.count(b"\xff\xda")


def test_segments_are_limited():
    refused(jpeg_files.exif_segments(800, 60_000), "EXIF in more than 100 segments, the limit")
    refused(jpeg_files.empty_comments(1_000_000), f"a JPEG of more than {MAX_SEGMENTS} segments, the limit")
    refused(jpeg_files.hidden_exif_segments(2), "EXIF in more than 100 segments, the limit")
    refused(b"\xff\xd8\xff\xd9" + jpeg_files.exif_segments(800, 60_000)[2:], "a JPEG that ends before its first scan")
    for filling in (b"\xff", b"\xff\0", b"\xff\xd0"):
        refused(jpeg_files.filled(110_000, filling), "more than 100000 bytes between the segments of a JPEG")
        assert load_image(jpeg_files.filled(1000, filling)).shape == (48, 64, 3)
    for data in (jpeg_files.exif_segments(50, 100), jpeg_files.empty_comments(5000)):
        assert load_image(data).shape == (48, 64, 3)


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_cut_jpeg_is_refused_even_with_an_end_marker(options, mode):
    whole = encoded(photo(128, 96).convert(mode), **options)
    pixels = load_image(whole)
    accepted = []
    for position in [*range(2, len(whole), 97), *range(len(whole) - 60, len(whole) - 2)]:
        try:
            found = load_image(jpeg_files.cut_and_ended(whole, position))
        except ImageError:
            continue
        if not np.array_equal(found, pixels):
            accepted.append((len(whole) - 2 - position, np.any(found != pixels, axis=2).sum()))
    # What SECURITY.md says: within the last bytes, and then only the last blocks have other pixels.
    assert all(missing_bytes <= 16 and pixels <= 512 for missing_bytes, pixels in accepted)
    assert len(accepted) <= 6


def test_whole_data_without_an_end_marker_is_an_image():
    whole = encoded(photo())
    for data in (whole[:-2], whole[:-1], whole[:-2] + b"\xff\xff" + whole[-2:]):
        np.testing.assert_array_equal(load_image(data), load_image(whole))
    refused(whole[:-20], "truncated: coded data is missing")
    refused(PROGRESSIVE[:-2], "truncated: there is no end marker")


def test_a_scan_that_is_cut_in_the_middle_of_others_is_noticed():
    whole = encoded(photo(256, 192), progressive=True)
    large = [scan for scan in read_outline(whole, "it", 100).scans if scan.end - scan.start > 40]
    assert len(large) == 8
    for scan in large:
        middle = (scan.start + scan.end) // 2
        refused(whole[:middle] + whole[scan.end :], "truncated: coded data is missing")


def test_missing_scans_and_restart_markers_are_named():
    for count in range(1, 8):
        refused(jpeg_files.without_last_scans(PROGRESSIVE, count), "truncated: . of 3 components lack scans")
    restarts = encoded(photo(), restart_marker_blocks=3)
    first = restarts.index(b"\xff\xd0")
    refused(restarts[:first] + restarts[first + 40 :], r"truncated: \d+ of \d+ restart markers")


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_pixels_are_pillows(options, mode):
    for size in ((64, 48), (17, 9), (1, 1), (333, 40)):
        data = encoded(photo(*size).convert(mode), **options)
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(load_image(data), np.asarray(image.convert("RGB")))


@pytest.mark.skipif(not (SHARED / "photos").is_dir(), reason="the photos lie beside the checkout")
def test_photos_are_whole():
    for path in sorted((SHARED / "photos").iterdir())[:20]:
        with Image.open(path) as image:
            np.testing.assert_array_equal(load_image(path), np.asarray(image.convert("RGB")))


def test_the_host_may_take_truncated_images(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert load_image(PROGRESSIVE[: len(PROGRESSIVE) // 2]).shape == (48, 64, 3)
    assert load_image(PROGRESSIVE, Limits(max_scans=20)).shape == (48, 64, 3)
