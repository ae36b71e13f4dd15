"""tl_train.head.folds: groups stay whole, every class is spread, and what cannot be learned from others is divided."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_train.head.folds import Folding
from tl_train.head.penalised import LinearHead, fit_penalised_head


def is_whole(fold_of: np.ndarray, groups: np.ndarray) -> bool:
    return all(len(set(fold_of[groups == group])) == 1 for group in set(groups.tolist()))


@given(st.data())
def test_no_group_is_in_two_folds_and_no_fold_is_empty(data):
    classes, seed = data.draw(st.integers(2, 4)), data.draw(st.integers(0, 99))
    # Two groups or more of each class, each of one class.
    sizes = [
        data.draw(st.lists(st.integers(1, 5), min_size=2, max_size=8), label=f"class {label}")
        for label in range(classes)
    ]
    labels = np.repeat(np.arange(classes), [sum(of_class) for of_class in sizes])
    flat = [size for of_class in sizes for size in of_class]
    groups = np.repeat(np.arange(len(flat)), flat)
    folding = Folding(seed, groups)
    assert folding.most(labels) == len(flat)
    count = min(10, folding.most(labels))
    fold_of = folding.of_classes(labels, count)
    assert is_whole(fold_of, groups)
    assert set(fold_of.tolist()) == set(range(count))
    np.testing.assert_array_equal(fold_of, Folding(seed, groups).of_classes(labels, count))
    for label in range(classes):  # the others have something of the class to learn from
        assert len(set(fold_of[labels == label])) > 1


def test_classes_are_as_even_as_groups_of_one_size_allow():
    labels = np.repeat([0, 1, 2], 60)
    groups = np.arange(180) // 3
    fold_of = Folding(3, groups).of_classes(labels, 5)
    assert {tuple(np.bincount(fold_of[labels == label])) for label in range(3)} == {(12, 12, 12, 12, 12)}


def test_a_class_of_a_single_group_is_divided():
    labels = np.array([0] * 6 + [1] * 6)
    groups = np.array([0] * 6 + [1, 1, 2, 2, 3, 3])
    fold_of = Folding(0, groups).of_classes(labels, 3)
    assert np.bincount(fold_of[:6]).tolist() == [2, 2, 2]
    assert is_whole(fold_of[6:], groups[6:])


def test_of_chosen_images_the_groups_are_theirs():
    folding = Folding(0, np.array([0, 0, 1, 1, 2, 2]))
    chosen = folding.chosen(np.array([1, 2, 5]))
    assert chosen.groups is not None
    assert chosen.groups.tolist() == [0, 1, 2]
    assert Folding(0).chosen(np.array([1, 2])).groups is None


@pytest.mark.parametrize("images_each", [6, 12])
def test_bursts_promise_no_more_than_new_images_keep(images_each):
    """Of labels that are pure chance, images of the same burst seem to tell something, and new ones tell nothing."""
    generator = np.random.default_rng(0)
    bursts = 40
    groups = np.repeat(np.arange(bursts), images_each)
    centers = generator.normal(size=(bursts, 30))
    features = (centers[groups] + 0.1 * generator.normal(size=(len(groups), 30))).astype(np.float32)
    labels = (np.arange(bursts) % 2)[groups]  # by burst, at random
    zero = LinearHead.zero(2, 30)

    def log_loss(folding: Folding) -> float:
        return min(row.log_loss for row in fit_penalised_head(features, labels, zero, folding).table)

    assert log_loss(Folding(0)) < 0.5 * np.log(2)
    assert log_loss(Folding(0, groups)) > 0.95 * np.log(2)
