"""tl_export.adding.discriminant: on Gaussian classes, where the best head is known."""

import numpy as np
import pytest

from tl_export.adding.discriminant import KnownClasses, fit_row
from tl_export.errors import ExportError

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
    labels = np.repeat(np.arange(KNOWN), 1000)
    known = KnownClasses(draw(labels), labels, weight[:KNOWN], bias[:KNOWN])
    row = fit_row(known, draw(np.full(200, KNOWN))).row
    np.testing.assert_allclose(row.weight, weight[KNOWN], atol=0.15 * np.abs(weight[KNOWN]).max())
    images, truth = draw(np.repeat(np.arange(KNOWN + 1), 400)), np.repeat(np.arange(KNOWN + 1), 400)
    best = (images @ weight.T + bias).argmax(axis=1) == truth
    found = np.column_stack([known.logits(images), row(images)]).argmax(axis=1) == truth
    assert found.mean() > best.mean() - 0.01


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_five_images_find_most_of_the_class_whatever_the_scale_of_the_head(gaussian, scale):
    means, root, draw = gaussian
    weight, bias = best_head(means, root)
    labels = np.repeat(np.arange(KNOWN), 100)
    known = KnownClasses(draw(labels), labels, scale * weight[:KNOWN], scale * bias[:KNOWN])
    fitted = fit_row(known, draw(np.full(5, KNOWN)))
    images, truth = draw(np.repeat(np.arange(KNOWN + 1), 400)), np.repeat(np.arange(KNOWN + 1), 400)
    old = known.logits(images)
    right = np.column_stack([old, fitted.row(images)]).argmax(axis=1) == truth
    is_new = truth == KNOWN
    assert right[is_new].mean() > 0.8
    assert (old.argmax(axis=1) == truth)[~is_new].mean() - right[~is_new].mean() < 0.05
    assert 3 <= fitted.recognised <= 5


def test_images_that_do_not_differ_are_refused():
    known = KnownClasses(np.eye(3)[[0, 0, 1, 1]], np.array([0, 0, 1, 1]), np.eye(2, 3), np.zeros(2))
    with pytest.raises(ExportError, match=r"add_class: the training images of each class are all alike"):
        fit_row(known, np.eye(3))
