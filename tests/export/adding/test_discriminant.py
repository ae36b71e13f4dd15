"""tl_export.adding.discriminant: on Gaussian classes, where the best head is known."""

import numpy as np
import pytest

from tl_export.adding.discriminant import Discriminants

WIDTH, KNOWN = 12, 4


@pytest.fixture(scope="module")
def gaussian():
    """Means of five classes, a root of their covariance, and how to draw images of them."""
    random = np.random.default_rng(0)
    means = 2.5 * random.normal(size=(KNOWN + 1, WIDTH))
    root = np.linalg.qr(random.normal(size=(WIDTH, WIDTH)))[0] * random.uniform(0.5, 2, WIDTH)

    def draw(labels):
        return means[labels] + random.normal(size=(len(labels), WIDTH)) @ root.T

    return means, root, draw


def best_head(means, root):
    """Of linear discriminant analysis with the true means and covariance."""
    weight = means @ np.linalg.inv(root @ root.T)
    return weight, -0.5 * (weight * means).sum(axis=1)


def test_with_many_images_the_row_is_the_best_one(gaussian):
    means, root, draw = gaussian
    weight, bias = best_head(means, root)
    labels = np.repeat(np.arange(KNOWN), 4000)
    known = Discriminants.of(draw(labels), labels, 0.3 * weight[:KNOWN], 0.3 * bias[:KNOWN])
    row = known.row(draw(np.full(4000, KNOWN)))
    assert known.scale == pytest.approx(0.3, rel=0.05), "a head may be less sure than the discriminants are"
    assert known.noise == pytest.approx(WIDTH, rel=0.05)
    np.testing.assert_allclose(row.weight, 0.3 * weight[KNOWN], atol=0.1 * np.abs(0.3 * weight[KNOWN]).max())
    assert row.bias == pytest.approx(0.3 * bias[KNOWN], rel=0.1)


def test_five_images_find_most_of_the_class_and_leave_the_others_alone(gaussian):
    means, root, draw = gaussian
    weight, bias = best_head(means, root)
    labels = np.repeat(np.arange(KNOWN), 100)
    known = Discriminants.of(draw(labels), labels, weight[:KNOWN], bias[:KNOWN])
    row = known.row(draw(np.full(5, KNOWN)))
    images, truth = draw(np.repeat(np.arange(KNOWN + 1), 400)), np.repeat(np.arange(KNOWN + 1), 400)
    logits = np.column_stack([images @ weight[:KNOWN].T + bias[:KNOWN], images @ row.weight + row.bias])
    right = logits.argmax(axis=1) == truth
    before = logits[:, :KNOWN].argmax(axis=1) == truth
    is_new = truth == KNOWN
    assert right[is_new].mean() > 0.8
    assert before[~is_new].mean() - right[~is_new].mean() < 0.05
