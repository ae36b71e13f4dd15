"""What is measured of int8, with errors."""

import math

import numpy as np
import pytest
from scipy import stats

from tl_export.smaller.measure import Estimate, mean_estimate, noise_shares, paired_difference
from tl_export.smaller.speed import median_estimate


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # Newcombe, Statistics in Medicine 1998, table II, method 10
        ((36, 12, 2, 0), (0.2, 0.0569, 0.3404)),
        ((0, 10, 0, 0), (1.0, 0.6075, 1.0)),
    ],
)
def test_the_interval_of_a_paired_difference_is_the_published_one(counts, expected):
    found = paired_difference(*counts)
    assert (found.value, found.low, found.high) == pytest.approx(expected, abs=5e-5)
    both, first, second, neither = counts
    turned = paired_difference(both, second, first, neither)
    assert (turned.value, turned.low, turned.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_the_interval_of_a_median_is_of_order_statistics():
    found = median_estimate([float(value) for value in range(1, 21)])
    assert (found.value, found.low, found.high) == (10.5, 6, 15)
    assert median_estimate([3.0, 1.0, 2.0]).low == 1


def test_the_interval_of_a_mean_is_students():
    values = np.random.default_rng(0).normal(size=12)
    found = mean_estimate(values)
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))
    assert mean_estimate(np.array([1.5])) == Estimate(1.5, -math.inf, math.inf)


def test_noise_is_of_the_differences_between_classes():
    logits = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    assert noise_shares(logits, logits + np.arange(40)[:, None]) == pytest.approx(0, abs=1e-10)
    assert noise_shares(logits, 1.1 * logits).mean() == pytest.approx(0.01, rel=1e-3)


def test_noise_of_several_labels_is_of_the_differences_between_images():
    logits = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    rare = logits - [0, 0, 0, 0, 50]
    assert noise_shares(rare, rare + 0.1 * logits, "multi").mean() == pytest.approx(0.01, rel=0.1)
    assert noise_shares(logits, logits + np.arange(40)[:, None], "multi").mean() > 1, "each label has its own sigmoid"
