import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import DisjointSet

from tl_train.preflight.look_alikes import MAX_HASH_DISTANCE, MAX_THUMBNAIL_DIFFERENCE, look_alikes

SIDE = 32


def brute_force(thumbnails: np.ndarray, hashes: np.ndarray) -> list[list[int]]:
    """The groups by comparing each with each, as the rule is stated."""
    levels = thumbnails.astype(np.float64)
    scaled = (levels - levels.mean(axis=1, keepdims=True)) * (50 / levels.std(axis=1, keepdims=True))
    groups = DisjointSet(range(len(hashes)))
    for a, b in itertools.combinations(range(len(hashes)), 2):
        bits = (int(hashes[a]) ^ int(hashes[b])).bit_count()
        if bits <= MAX_HASH_DISTANCE and np.abs(scaled[a] - scaled[b]).mean() <= MAX_THUMBNAIL_DIFFERENCE:
            groups.merge(a, b)
    return sorted(sorted(group) for group in groups.subsets() if len(group) > 1)


def scenes(generator: np.random.Generator, count: int, blocks: int) -> np.ndarray:
    """Thumbnails of blocks at random levels: float (count, pixels)."""
    small = generator.integers(0, 256, (count, blocks, blocks))
    return small.repeat(SIDE // blocks, axis=1).repeat(SIDE // blocks, axis=2).reshape(count, -1).astype(float)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(0, 50),
    kinds=st.integers(1, 8),
    blocks=st.sampled_from([1, 2, 4, 8, 32]),
    noise=st.floats(2, 60),
    flips=st.integers(0, 9),
)
def test_the_groups_are_those_of_comparing_each_with_each(seed, images, kinds, blocks, noise, flips):
    generator = np.random.default_rng(seed)
    kind = generator.integers(0, kinds, images)
    levels = scenes(generator, kinds, blocks)[kind] + generator.normal(0, noise, (images, SIDE * SIDE))
    hashes = generator.integers(0, 2**63, kinds, dtype=np.uint64)[kind]
    for bit in generator.integers(0, 64, (flips, images)).astype(np.uint64):
        hashes = hashes ^ (np.uint64(1) << bit)
    thumbnails = np.clip(levels, 0, 255).astype(np.uint8)
    thumbnails[:, :2] = (0, 255)  # none is uniform
    assert look_alikes(thumbnails, hashes) == brute_force(thumbnails, hashes)


def test_a_chain_of_near_pairs_is_one_group_however_far_its_ends_are():
    first, last = scenes(np.random.default_rng(1), 2, 4)
    share = np.linspace(0, 1, 40)[:, np.newaxis]
    thumbnails = (first * (1 - share) + last * share).astype(np.uint8)
    hashes = np.zeros(40, np.uint64)
    assert look_alikes(thumbnails, hashes) == [list(range(40))]
    assert look_alikes(thumbnails[[0, -1]], hashes[:2]) == []


def test_twenty_thousand_copies_are_not_two_hundred_million_pairs():
    generator = np.random.default_rng(0)
    count = 20_000
    noise = generator.integers(-5, 6, (count, SIDE * SIDE), dtype=np.int16)
    thumbnails = (scenes(generator, 1, 8).astype(np.int16) // 2 + 60 + noise).astype(np.uint8)
    assert look_alikes(thumbnails, np.zeros(count, np.uint64)) == [list(range(count))]
