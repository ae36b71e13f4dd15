"""What is measured of int8, and what that decides."""

import math

import numpy as np
import pytest
from scipy import stats

from tl_export.smaller.gates import Allowance
from tl_export.smaller.measure import (
    Estimate,
    Judged,
    Loss,
    log_losses,
    loss_between,
    mean_estimate,
    noise_shares,
    paired_difference,
)
from tl_export.smaller.speed import Speed, median_estimate

FASTER = Speed((2.0, 1.0), Estimate(2.0, 1.9, 2.1))
SLOWER = Speed((1.0, 2.0), Estimate(0.5, 0.4, 0.6))


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
    assert log_losses(np.array([[0.0, math.log(3)]]), np.array([1]), 1.0) == pytest.approx(-math.log(0.75))


def test_what_is_lost_is_measured_image_by_image():
    before = Judged(np.array([True] * 8 + [False] * 2), np.full(10, 0.5))
    after = Judged(np.array([True] * 6 + [False] * 3 + [True]), np.full(10, 0.75))
    loss = loss_between(before, after)
    assert (loss.accuracy.value, loss.pictures) == (pytest.approx(0.1), 10)
    assert (loss.log_loss.value, loss.log_loss.low) == (0.25, 0.25)
    assert loss_between(before.joined(before), before.joined(after)).accuracy.value == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("accuracy", "log_loss", "speed", "refused_by"),
    [
        (Estimate(0.001, -0.01, 0.004), Estimate(0.0, -0.01, 0.009), FASTER, ()),
        (Estimate(0.011, -0.005, 0.027), Estimate(0.0, -0.01, 0.009), FASTER, ("strict",)),  # may be chance
        (Estimate(0.03, 0.01, 0.05), Estimate(0.0, -0.01, 0.009), FASTER, ("shown", "strict")),
        (Estimate(0.0, -0.02, 0.004), Estimate(0.03, 0.02, 0.04), FASTER, ("shown", "strict")),
        (Estimate(0.0, -0.02, 0.004), Estimate(0.0, -math.inf, math.inf), FASTER, ("strict",)),  # a single image
        (Estimate(0.0, -0.02, 0.004), Estimate(0.0, -0.01, 0.009), SLOWER, ("shown", "strict")),
    ],
)
def test_each_gate_refuses_by_what_was_shown(accuracy, log_loss, speed, refused_by):
    loss = Loss(accuracy, log_loss, 372)
    for gate in ("shown", "strict", "none"):
        objections = Allowance(0.005, gate).objections(loss, speed)
        assert bool(objections) == (gate in refused_by), gate
