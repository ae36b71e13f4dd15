import time

import numpy as np
import pytest

from attacks import further_files
from attacks.jpeg_files import photo
from tl_infer import ImageError, ImageTooLargeError, Limits, load_image

LIMITS = Limits(formats=("pnm",))
GREY = np.array([[0, 1, 100], [254, 255, 7]], np.uint8)


def repeated(grey: object) -> list[object]:
    return np.repeat(np.asarray(grey)[..., np.newaxis], 3, axis=2).tolist()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P5 3 2 255\n" + GREY.tobytes(), repeated(GREY)),
        (b"P5\n# a comment\n3 # another\r2\n255\n" + GREY.tobytes(), repeated(GREY)),
        (b"P2\n3 2\n255\n0 1 100\n254\t255  7\n", repeated(GREY)),
        (b"P6 1 2 255\n" + bytes(range(6)), [[[0, 1, 2]], [[3, 4, 5]]]),
        (b"P3 1 2 255\n0 1 2 3 4 5", [[[0, 1, 2]], [[3, 4, 5]]]),
        (b"P4 10 1\n\xaa\x40", repeated([[0, 255, 0, 255, 0, 255, 0, 255, 255, 0]])),
        (b"P1 4 1\n01 10", repeated([[255, 0, 0, 255]])),
        (b"P5 3 1 4095\n\0\0\x08\x00\x0f\xff", repeated([[0, 128, 255]])),
        (b"P5 2 1 100\n\x32\x64", repeated([[128, 255]])),
        (b"P2 2 1 7 3 7", repeated([[109, 255]])),
        (b"P5 4 1 65535\n\0\0\0\x81\x80\0\xff\xff", repeated([[0, 1, 128, 255]])),
        (b"P6 1 1 65535\n\0\xff\x80\0\xff\xff", [[[0, 128, 255]]]),
    ],
)
def test_every_form_gives_its_values(data, expected):
    pixels = load_image(data, LIMITS)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.tolist() == expected


def test_a_file_says_its_depth_itself_unless_that_is_sixteen_bits():
    twelve = Limits(formats=("pnm",), bit_depth=12)
    assert load_image(b"P5 2 1 65535\n\x08\x00\x0f\xff", twelve)[0, :, 0].tolist() == [128, 255]
    assert load_image(b"P6 1 1 65535\n\x08\x00\x0f\xff\0\0", twelve).tolist() == [[[128, 255, 0]]]
    assert load_image(b"P5 2 1 1023\n\x02\x00\x03\xff", twelve)[0, :, 0].tolist() == [128, 255]
    with pytest.raises(ImageError, match="values from 0 to 4096, expected 0 to 4095"):
        load_image(b"P6 1 1 65535\n\x10\x00\x0f\xff\0\0", twelve)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P5 3 2 255\n", "it is truncated: pixels are missing"),
        (b"P2 3 2 255\n1 2 3 4 5", "it is truncated: pixels are missing"),
        (b"P1 3 2\n10101", "it is truncated: pixels are missing"),
        (b"P2 3 1 255\n1 -2 3", "its values are no decimal numbers"),
        (b"P2 3 1 255\n1 2 256", "a value of 256, the highest is 255"),
        (b"P1 3 1\n102", "a value of 2, the highest is 1"),
        (b"P5 1 1 100\n\xff", "a value of 255, the highest is 100"),
        (b"P5 1 1 65536\n\0\0", "a highest value of 65536, expected 1 to 65535"),
        (b"P5 1 1 0\n\0", "a highest value of 0"),
        (b"P5 0 1 255\n", "image of 0 x 1 pixels"),
        (b"P5 1 1", "truncated, or its PNM header is damaged"),
        (b"P5 1 x 255\n\0", "its PNM header is damaged"),
        (b"P2 1 1 255\n" + b"9" * 100, "a value of [0-9]+, the highest is 255"),
        (further_files.pnm_with_a_comment(10_000), "its PNM header is damaged"),
        (further_files.pnm_with_a_comment(50_000_000), "its PNM header is damaged"),
        (b"P2 5000 5000 255\n" + b"1 " * 10_000_000, "a plain PNM file of 20000017 bytes, the limit is 20000000"),
        (b"P7\nWIDTH 1\n", "not an image in a known format"),
        (b"Pf 1 1 -1\n" + bytes(4), "not an image in a known format"),
        (b"PyRGBA 1 1 255\n" + bytes(4), "not an image in a known format"),
    ],
)
def test_what_is_damaged_or_too_much_is_refused(data, message):
    started = time.process_time()
    with pytest.raises(ImageError, match=message):
        load_image(data, LIMITS)
    assert time.process_time() - started < 0.5


def test_a_cut_file_is_refused_wherever_it_is_cut():
    whole = further_files.encoded(photo(), "PPM")
    for position in [*range(0, len(whole), 97), len(whole) - 1]:
        with pytest.raises(ImageError, match=r"empty|known format|truncated"):
            load_image(whole[:position], LIMITS)
    np.testing.assert_array_equal(load_image(whole, LIMITS), np.asarray(photo()))


def test_a_size_over_the_limits_is_refused_before_anything_is_read():
    for data in (b"P5 60000 60000 255\n", b"P1 999999999 999999999\n"):
        with pytest.raises(ImageTooLargeError, match="the limit is 50000000 in all"):
            load_image(data, LIMITS)
    assert load_image(b"P5\n#" + b"x" * 1000 + b"\n1 1\n255\n\7", LIMITS).tolist() == [[[7, 7, 7]]]
