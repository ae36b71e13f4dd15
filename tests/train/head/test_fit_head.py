import numpy as np
import pytest

from support.loading import dataset_of
from tl_train import TrainConfig
from tl_train.data.samples import Sample
from tl_train.head.problem import head_loss


@pytest.fixture(scope="module")
def uneven():
    """Nine images of one class and three of another."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    return dataset_of(("a", "b"), [Sample(f"{i}", int(i >= 9), pixels=pixels) for i in range(12)])


def test_class_weights_make_the_classes_count_the_same(uneven):
    loss = head_loss(TrainConfig.of("d", class_weights="balanced"), uneven)
    np.testing.assert_allclose(loss.class_weights, [12 / 18, 12 / 6])
    assert head_loss(TrainConfig.of("d"), uneven).class_weights is None


@pytest.mark.parametrize(("mode", "smoothing"), [("head", 0.2), ("auto", 0.0), ("partial", 0.0), ("full", 0.0)])
def test_labels_are_smoothed_where_the_head_is_all_that_is_trained(uneven, mode, smoothing):
    config = TrainConfig.of("d", mode=mode, label_smoothing=0.2)
    assert head_loss(config, uneven).label_smoothing == smoothing
