"""tl_train.familiarity.fit: on images of known classes alone, and it sees unknown ones."""

import dataclasses

import numpy as np
import pytest

from tl_train.familiarity.fit import BANK_BYTES, WEIGHTS, HeldBack, _steepest, bank_rows, fit_familiarity
from tl_train.familiarity.rejection import auroc, rejections

CLASSES, WIDTH = 5, 24
CENTERS = np.eye(CLASSES, WIDTH) * 4 + 1


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings around a centre per class, and the classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    return CENTERS[labels] + random.normal(0, 0.6, (count, WIDTH)), labels


def logits_of(embeddings: np.ndarray) -> np.ndarray:
    """Those of a linear head that finds its classes' directions."""
    return embeddings[:, :CLASSES] * 2 - 4


def held_back(count: int = 400, seed: int = 1) -> HeldBack:
    embeddings, labels = images(count, seed)
    return HeldBack(embeddings, logits_of(embeddings), labels, np.full(count, -1), "images")


@pytest.fixture(scope="module")
def fitted():
    bank, labels = images(100, 0)
    return fit_familiarity(bank, labels, held_back())


def test_as_many_known_images_are_rejected_as_was_said(fitted):
    known = held_back(2000, 2)
    shares = fitted(known.embeddings, known.logits)
    assert (shares < 0.05).mean() == pytest.approx(0.05, abs=0.03)
    assert np.median(shares) == pytest.approx(0.5, abs=0.06)
    assert fitted.images == 400
    assert (np.diff(fitted.quantiles) > 0).all()


def test_it_sees_far_images_whose_logits_are_large_and_near_ones_whose_logits_are_small(fitted):
    known = held_back(500, 3)
    far = -CENTERS[known.labels]  # quite another direction, with the logits of a known image
    near = np.full((500, WIDTH), 1.0) + np.random.default_rng(4).normal(0, 0.6, (500, WIDTH))
    sets = {"far": fitted(far, known.logits), "near": fitted(near, logits_of(near))}
    for found in rejections(fitted(known.embeddings, known.logits), sets, 0.05):
        assert found.auroc > 0.98, found
        assert found.rejected > 0.9, found


def test_an_image_of_the_bank_is_not_its_own_neighbour():
    embeddings, labels = images(300, 5)
    rows = bank_rows(labels, WIDTH, 0)
    own = np.full(300, -1)
    own[rows] = np.arange(len(rows))
    training = HeldBack(embeddings, logits_of(embeddings), labels, own, "training images")
    honest = fit_familiarity(embeddings[rows], labels[rows], training)
    vain = fit_familiarity(embeddings[rows], labels[rows], dataclasses.replace(training, in_bank=np.full(300, -1)))
    assert honest.similarity.center < vain.similarity.center
    assert honest.similarity.center == pytest.approx(
        fit_familiarity(embeddings[rows], labels[rows], held_back(300, 6)).similarity.center, abs=0.01
    )


def test_the_bank_takes_from_every_class_and_has_a_limit():
    labels = np.repeat(np.arange(4), [1000, 500, 300, 20])
    rows = bank_rows(labels, 16, 0)
    assert (np.sort(rows) == rows).all()
    assert np.bincount(labels[rows]).tolist() == [127, 127, 126, 20]
    assert len(bank_rows(labels, 500_000, 0)) * 500_000 * 2 <= BANK_BYTES
    assert len(bank_rows(labels[:3], 16, 0)) == 3
    assert bank_rows(labels, 16, 0).tolist() == rows.tolist()


@pytest.mark.parametrize(
    ("aurocs", "weight"),
    [
        ([], WEIGHTS[0]),
        ([[0.9, 0.9, 0.9, 0.9]], WEIGHTS[0]),  # one class is no sample
        ([[0.9, 0.9, 0.5, 0.5], [0.8, 0.8, 0.4, 0.4]], WEIGHTS[1]),
        ([[0.9, 0.89, 0.88, 0.87], [0.8, 0.79, 0.78, 0.77]], WEIGHTS[3]),
        ([[0.5, 0.7, 0.9, 0.8], [0.51, 0.71, 0.91, 0.81]], WEIGHTS[2]),
    ],
)
def test_the_greatest_weight_that_costs_nothing_is_taken(aurocs, weight):
    assert _steepest(aurocs) == weight


def test_two_classes_leave_nothing_to_choose_by():
    found = held_back()
    two = dataclasses.replace(found, logits=found.logits[:, :2], labels=found.labels % 2)
    bank, labels = images(100, 0)
    assert fit_familiarity(bank, labels % 2, two).weight == WEIGHTS[0]


def test_auroc_counts_pairs():
    known, unknown = np.array([0.9, 0.5, 0.5, 0.1]), np.array([0.5, 0.0, 0.2])
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in known for b in unknown]
    assert auroc(known, unknown) == pytest.approx(np.mean(pairs))
    (found,) = rejections(np.zeros(0), {"set": unknown}, 0.3)
    assert (found.images, found.rejected, found.auroc) == (3, pytest.approx(2 / 3), None)
