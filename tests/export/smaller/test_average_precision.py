"""Mean average precision and its paired bootstrap, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tl_export.smaller.average_precision import average_precision_lost, mean_average_precision
from tl_train.progress import Progress


def answers(images, labels, seed=0):
    """Targets, some of them unknown, and two files' probabilities of two digits, so that some are the same."""
    random = np.random.default_rng(seed)
    targets = (random.random((images, labels)) < 0.4).astype(np.float32)
    before = np.round(np.clip(0.5 * targets + 0.6 * random.random(targets.shape), 0, 1), 2)
    after = np.round(np.clip(before + 0.2 * random.normal(size=before.shape), 0, 1), 2)
    targets[random.random(targets.shape) < 0.1] = np.nan
    return targets, before, after


def oracle(probabilities, targets):
    found = []
    for truth, row in zip(targets.T, probabilities.T, strict=True):
        known = np.isfinite(truth)
        if (truth[known] == 1).any():
            found.append(average_precision_score(truth[known] == 1, row[known]))
    return np.mean(found)


@pytest.mark.parametrize("images", [5, 40, 300])
def test_it_is_that_of_scikit_learn(images):
    targets, before, after = answers(images, 3)
    assert mean_average_precision(before, targets) == pytest.approx(oracle(before, targets))
    lost = average_precision_lost(before, after, targets, Progress())
    assert lost.value == pytest.approx(oracle(before, targets) - oracle(after, targets))
    assert lost.low < lost.value < lost.high


def test_the_interval_is_of_images_drawn_again_the_same_for_both():
    targets, before, after = answers(60, 2)
    random, drawn = np.random.default_rng(0), []
    for counts in random.multinomial(60, np.full(60, 1 / 60), 1000):
        again = np.repeat(np.arange(60), counts)
        drawn.append(oracle(before[again], targets[again]) - oracle(after[again], targets[again]))
    found = average_precision_lost(before, after, targets, Progress())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))))
    assert average_precision_lost(before, after, targets, Progress()) == found


def test_what_no_image_shows_may_still_be_there():
    targets, before, _ = answers(50, 2)
    same = average_precision_lost(before, before, targets, Progress())
    assert (same.value, same.low, same.high) == (0, pytest.approx(-0.02), pytest.approx(0.02))


def test_a_label_that_no_image_has_does_not_count():
    targets, before, after = answers(30, 2)
    more = np.column_stack([targets, np.zeros(30)])
    both = [np.column_stack([one, one[:, 0]]) for one in (before, after)]
    assert average_precision_lost(*both, more, Progress()) == average_precision_lost(before, after, targets, Progress())
    assert np.isnan(mean_average_precision(before, np.zeros((30, 2))))
    nothing = average_precision_lost(before, after, np.zeros((30, 2)), Progress())
    assert (nothing.low, nothing.high) == (-1, 1)
