from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tl_infer import load_image
from tl_train.training.augment import make_augmentation

NAMES = ["light", "standard"]


def made(height: int, width: int, seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels.setflags(write=False)  # as pictures of a cache are
    return pixels


def test_none_is_none():
    assert make_augmentation("none") is None


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=200)
@given(shape=st.tuples(st.integers(1, 50), st.integers(1, 50)), seed=st.integers(0, 2**63 - 1))
def test_any_picture_stays_a_picture_no_larger_than_it_was(name, shape, seed):
    pixels = made(*shape)
    changed = make_augmentation(name)(pixels, seed)
    assert changed.dtype == np.uint8
    assert changed.flags.c_contiguous
    assert changed.shape[2] == 3
    assert all(1 <= after <= before for after, before in zip(changed.shape[:2], shape, strict=True))
    assert not np.shares_memory(changed, pixels)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=200)
@given(seed=st.integers(0, 2**32))
def test_gray_pictures_stay_gray(name, seed):
    pixels = np.repeat(made(30, 40)[:, :, :1], 3, axis=2)
    changed = make_augmentation(name)(pixels, seed)
    np.testing.assert_array_equal(changed.min(axis=2), changed.max(axis=2))


@pytest.mark.parametrize(("name", "min_area", "max_stretch"), [("light", 0.8, 1.1), ("standard", 0.5, 4 / 3)])
def test_the_part_kept_is_as_large_as_promised_and_lies_anywhere(name, min_area, max_stretch):
    augmentation = make_augmentation(name)
    areas, stretches = [], []
    for seed in range(300):
        height, width, _ = augmentation(made(100, 100), seed).shape
        areas.append(height * width / 10_000)
        stretches.append(height / width)
    assert min(areas) >= min_area
    assert min(areas) < min_area + 0.1
    assert max(areas) > 0.95
    assert max(stretches) == pytest.approx(max_stretch, rel=0.05)
    assert min(stretches) == pytest.approx(1 / max_stretch, rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_everything_on_any_thread_and_torchs_generator_is_left_alone(name, photos):
    augmentation, pixels = make_augmentation(name), load_image(photos[0])
    expected = [augmentation(pixels, seed) for seed in range(24)]
    before = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda seed: augmentation(pixels, seed), range(24)))
    assert torch.equal(before, torch.get_rng_state())
    for first, second in zip(expected, again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert len({picture.tobytes() for picture in expected}) == 24


def test_light_changes_little_and_mirrors_half():
    ramp = np.repeat(np.arange(60, 180, dtype=np.uint8)[np.newaxis, :, np.newaxis].repeat(80, 0), 3, axis=2)
    mirrored = 0
    for seed in range(200):
        changed = make_augmentation("light")(ramp, seed).astype(int)
        assert changed.min() > 40
        assert changed.max() < 205
        mirrored += changed[0, 0, 0] > changed[0, -1, 0]
    assert 70 <= mirrored <= 130


def test_standard_changes_more_than_light(photos):
    pixels = load_image(photos[0])
    colors = {name: np.std([make_augmentation(name)(pixels, seed).mean() for seed in range(40)]) for name in NAMES}
    assert colors["standard"] > 1.5 * colors["light"]
