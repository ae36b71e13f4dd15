"""tl_train.report.caveats: groups and copies, which the interval of an accuracy knows nothing of."""

import dataclasses

import numpy as np
import pytest

from support.loading import dataset_of
from tl_train.data.samples import Sample
from tl_train.preflight.preflight import preflight
from tl_train.report.caveats import accuracy_caveats


def samples(part, *groups):
    """An image, unlike all others, for each of some groups."""
    start = {"train": 0, "val": 100, "test": 200}[part]
    return [
        Sample(f"{part}-{i}", i % 2, pixels=np.random.default_rng(start + i).integers(0, 256, (40, 40, 3), np.uint8),
               group=group)
        for i, group in enumerate(groups)
    ]  # fmt: skip


def caveats(train, test, val=()):
    dataset = dataset_of(("a", "b"), train, val, test)
    return list(accuracy_caveats(dataset, preflight(dataset)))


def test_independent_images_need_no_caveat():
    assert not caveats(samples("train", None, None), samples("test", None, "x", "y"))


@pytest.mark.parametrize(("groups", "said"), [("xxyy", "2 groups"), ("xxx", "1 group"), (("x", "x", None), "2 groups")])
def test_images_of_a_group_make_the_interval_too_narrow(groups, said):
    (text,) = caveats(samples("train", None, None), samples("test", *groups))
    assert text == f"The images are of {said}, and those of a group are alike: the true interval is wider."


def test_copies_of_training_images_make_the_accuracy_too_high():
    train, test = samples("train", None, None), samples("test", None, None)
    copies = [
        dataclasses.replace(test[0], pixels=train[0].pixels),
        dataclasses.replace(test[1], pixels=train[0].pixels),
    ]
    (one,) = caveats(train, [copies[0], test[1]])
    assert (
        one == "1 of the images has a copy or near copy among the training images, which makes the accuracy too high."
    )
    (two,) = caveats(train, copies)
    assert two.startswith("2 of the images have copies or near copies among")
    assert not caveats(train, test, val=[dataclasses.replace(copies[0], name="val-0")]), "of the other held-out part"
