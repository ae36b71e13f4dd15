"""What was measured of int8 decides whether it is kept."""

import math

import pytest

from tl_export.smaller.gates import Allowance
from tl_export.smaller.judged import ACCURACY, MEAN_AVERAGE_PRECISION, Loss
from tl_export.smaller.measure import Estimate
from tl_export.smaller.speed import Speed

FASTER = Speed((2.0, 1.0), Estimate(2.0, 1.9, 2.1))
SLOWER = Speed((1.0, 2.0), Estimate(0.5, 0.4, 0.6))


@pytest.mark.parametrize(
    ("score", "log_loss", "speed", "refused_by"),
    [
        (Estimate(0.001, -0.01, 0.004), Estimate(0.0, -0.01, 0.009), FASTER, ()),
        (Estimate(0.011, -0.005, 0.027), Estimate(0.0, -0.01, 0.009), FASTER, ("strict",)),  # may be chance
        (Estimate(0.03, 0.01, 0.05), Estimate(0.0, -0.01, 0.009), FASTER, ("shown", "strict")),
        (Estimate(0.0, -0.02, 0.004), Estimate(0.03, 0.02, 0.04), FASTER, ("shown", "strict")),
        (Estimate(0.0, -0.02, 0.004), Estimate(0.0, -math.inf, math.inf), FASTER, ("strict",)),  # a single image
        (Estimate(0.0, -0.02, 0.004), Estimate(0.0, -0.01, 0.009), SLOWER, ("shown", "strict")),
    ],
)
def test_each_gate_refuses_by_what_was_shown(score, log_loss, speed, refused_by):
    loss = Loss(score, log_loss, 372)
    for gate in ("shown", "strict", "none"):
        objections = Allowance(0.005, gate).objections(loss, speed)
        assert bool(objections) == (gate in refused_by), gate


def test_points_of_map_are_allowed_other_nats_and_have_their_name():
    allowance = Allowance(0.005)
    assert allowance.log_loss(ACCURACY) == 0.01
    assert allowance.log_loss(MEAN_AVERAGE_PRECISION) == pytest.approx(0.0075)
    much, rise = Estimate(0.03, 0.01, 0.05), Estimate(0.01, 0.008, 0.012)
    loss = Loss(much, rise, 500, MEAN_AVERAGE_PRECISION)
    assert allowance.objections(loss, FASTER) == [
        "more mAP lost than allowed",
        "log-loss rose by more than allowed",
    ]
    assert allowance.shows_loss(loss)
    assert Allowance(0.005).objections(Loss(Estimate(0, -0.01, 0.01), rise, 500), FASTER) == []
