import pytest

from attacks import gif_and_bmp_files
from tl_infer import ImageError, load_image


def test_blocks_of_a_gif_are_limited():
    with pytest.raises(ImageError, match="a GIF of more than 10000 blocks before its image, the limit"):
        load_image(gif_and_bmp_files.many_comments(1_000_000))
    assert load_image(gif_and_bmp_files.many_comments(3000)).shape == (8, 8, 3)


def test_large_run_length_encoded_bmp_files_are_refused():
    with pytest.raises(ImageError, match=r"a run-length encoded BMP of 2[0-9]{7} bytes, the limit is 20000000"):
        load_image(gif_and_bmp_files.run_length_encoded(3300, 3300))
    assert load_image(gif_and_bmp_files.run_length_encoded(30, 20)).shape == (20, 30, 3)
