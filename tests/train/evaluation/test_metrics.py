import collections
import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import metrics as oracle
from sklearn.calibration import calibration_curve

from tl_train.evaluation.answers import Answers
from tl_train.evaluation.metrics import Evaluation, class_scores, measurements, percent, wilson_interval
from tl_train.evaluation.reliability import calibration_bins, expected_calibration_error, risk_coverage


@st.composite
def evaluations(draw, fewest=2, most=6):
    """Answers of any quality; coarse logits, so that equal probabilities occur."""
    pictures, count = draw(st.integers(1, 60)), draw(st.integers(fewest, most))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = np.round(random.normal(0, draw(st.sampled_from([0.3, 2, 8])), (pictures, count)), 1)
    truth = random.integers(0, count, pictures)
    return Evaluation("test", Answers(logits, truth), 2.0)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(counts):
    """Source: formula 3 of Newcombe, "Two-sided confidence intervals for the single proportion", 1998."""
    correct, total = counts
    z, share = norm.ppf(0.975), correct / total
    centre, margin = correct + z * z / 2, z * math.sqrt(share * (1 - share) * total + z * z / 4)
    found = wilson_interval(correct, total)
    expected = (centre - margin) / (total + z * z), (centre + margin) / (total + z * z)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
    assert 0 <= found.low <= share <= found.high <= 1


@given(evaluations())
@settings(max_examples=60)
def test_scores_are_shares_of_the_counted(evaluation):
    every = range(evaluation.probabilities.shape[1])
    pairs = collections.Counter(zip(evaluation.truth.tolist(), evaluation.predicted.tolist(), strict=True))
    assert evaluation.confusion.tolist() == [[pairs[true, predicted] for predicted in every] for true in every]
    assert evaluation.errors.tolist() == [[pairs[true, said] * (true != said) for said in every] for true in every]
    for i, score in enumerate(class_scores(evaluation)):
        support = sum(pairs[i, other] for other in every)
        predicted = sum(pairs[other, i] for other in every)
        shares = (pairs[i, i], predicted), (pairs[i, i], support), (2 * pairs[i, i], support + predicted)
        expected = [part / whole if whole else None for part, whole in shares]
        assert dataclasses.astuple(score) == (support, predicted, *expected)


@given(evaluations())
@settings(max_examples=40)
def test_log_loss_is_scikit_learns(evaluation):
    every = list(range(evaluation.probabilities.shape[1]))
    assert evaluation.log_loss == pytest.approx(
        oracle.log_loss(evaluation.truth, evaluation.probabilities, labels=every), rel=1e-9
    )


@given(evaluations(most=2))
@settings(max_examples=40)
def test_brier_of_two_classes_is_twice_scikit_learns(evaluation):
    expected = oracle.brier_score_loss(evaluation.truth, evaluation.probabilities[:, 1], pos_label=1)
    assert evaluation.brier == pytest.approx(2 * expected, abs=1e-12)


@given(evaluations())
@settings(max_examples=60)
def test_the_reliability_diagram_is_scikit_learns(evaluation):
    bins = calibration_bins(evaluation.confidence, evaluation.right)
    confidence = np.minimum(evaluation.confidence, 1)
    accuracy, mean = calibration_curve(np.append(evaluation.right, [0, 1]), np.append(confidence, [0, 0]), n_bins=15)
    # scikit-learn wants both outcomes to occur; the two added ones are alone in the first bin.
    np.testing.assert_allclose([group.accuracy for group in bins], accuracy[1:])
    np.testing.assert_allclose([group.confidence for group in bins], mean[1:], atol=1e-12)
    assert sum(group.pictures for group in bins) == len(evaluation.truth)
    assert 0 <= expected_calibration_error(bins) <= 1


def test_calibration_error_by_hand():
    right = np.array([True, False, True, True])
    confidence = np.array([0.9, 0.9, 0.6, 0.6])  # 0.4 too sure on one half, 0.4 too modest on the other
    assert expected_calibration_error(calibration_bins(confidence, right)) == pytest.approx(0.4)


@given(evaluations(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_risk_is_scikit_learns_precision_of_being_right_in_any_order(evaluation, random):
    curve = risk_coverage(evaluation.confidence, evaluation.right)
    assert curve.risk[-1] == pytest.approx(1 - evaluation.accuracy)
    assert curve.coverage[-1] == 1
    if evaluation.right.any():
        precision, _, thresholds = oracle.precision_recall_curve(evaluation.right, evaluation.confidence)
        np.testing.assert_allclose(thresholds[::-1], curve.thresholds)
        np.testing.assert_allclose(1 - precision[:-1][::-1], curve.risk, atol=1e-12)
    order = list(range(len(evaluation.truth)))
    random.shuffle(order)
    again = risk_coverage(evaluation.confidence[order], evaluation.right[order])
    assert again.area == pytest.approx(curve.area)


def test_area_by_hand():
    curve = risk_coverage(np.array([0.9, 0.8, 0.8, 0.5]), np.array([True, False, True, False]))
    np.testing.assert_allclose(curve.coverage, [0.25, 0.75, 1])
    np.testing.assert_allclose(curve.risk, [0, 1 / 3, 1 / 2])
    assert curve.area == pytest.approx((0 + 2 / 3 + 1 / 2) / 4)


@given(evaluations())
@settings(max_examples=30)
def test_measurements_are_finite_numbers(evaluation):
    labels = tuple(f"c{i}" for i in range(evaluation.probabilities.shape[1]))
    found = json.loads(json.dumps(measurements(evaluation, labels), allow_nan=False))
    assert found["accuracy_interval"][0] <= found["accuracy"] <= found["accuracy_interval"][1]
    assert found["uncalibrated"]["log_loss"] == pytest.approx(evaluation.before().log_loss)
    assert [row["label"] for row in found["classes"]] == list(labels)


@pytest.mark.parametrize(
    ("share", "digits", "said"),
    [(1.0, 1, "100.0%"), (0.9999, 1, "> 99.9%"), (0.997, 0, "> 99%"), (0.0, 1, "0.0%"), (1e-6, 2, "< 0.01%")],
)
def test_a_share_in_percent_is_no_certainty_that_it_is_not(share, digits, said):
    assert percent(share, digits) == said
