import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from tl_train.errors import CalibrationError
from tl_train.evaluation.answers import Answers
from tl_train.evaluation.calibration import (
    MIN_IMAGES,
    TEMPERATURE_BOUNDS,
    abstention_threshold,
    fit_calibration,
    fit_temperature,
    images_for,
    temperature_loss,
)
from tl_train.evaluation.metrics import wilson_interval


def drawn(seed: int, images: int, classes: int = 4, overconfidence: float = 1.0, scale: float = 3.0) -> Answers:
    """Answers of a network whose probabilities are right once its logits are divided by `overconfidence`."""
    random = np.random.default_rng(seed)
    honest = random.normal(0, scale, (images, classes))
    truth = np.array([random.choice(classes, p=row) for row in softmax(honest, axis=1)])
    return Answers(honest * overconfidence, truth)


def test_log_losses_are_of_the_true_class():
    answers = Answers(np.array([[0.0, math.log(3)], [0.0, 2 * math.log(3)]]), np.array([1, 0]))
    assert answers.log_losses(1.0) == pytest.approx([-math.log(0.75), math.log(10)])
    assert answers.log_losses(2.0)[1] == pytest.approx(math.log(4))


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_the_temperature_of_many_pictures_is_found(true):
    assert fit_temperature(drawn(0, 4000, overconfidence=true)) == pytest.approx(true, rel=0.07)


@given(st.integers(0, 1000), st.integers(MIN_IMAGES, 60), st.integers(2, 5), st.sampled_from([1e-6, 0.1, 3, 50, 1e4]))
@settings(max_examples=40)
def test_no_other_temperature_is_better(seed, images, classes, scale):
    random = np.random.default_rng(seed)
    answers = Answers(random.normal(0, scale, (images, classes)), random.integers(0, classes, images))
    found = fit_temperature(answers)
    low, high = TEMPERATURE_BOUNDS
    assert low <= found <= high
    least = temperature_loss(answers, found)
    for other in np.geomspace(low, high, 41):
        assert least <= temperature_loss(answers, float(other)) * (1 + 1e-5) + 1e-9


@pytest.mark.parametrize("margin", [1e-3, 1.0, 8.0, 1e5])
def test_separable_answers_have_a_temperature_within_the_bounds(margin):
    labels = np.arange(40) % 2
    logits = margin * np.eye(2)[labels]
    low, high = TEMPERATURE_BOUNDS
    assert low <= fit_temperature(Answers(logits, labels)) <= 1.0001
    assert 1 <= fit_temperature(Answers(logits, 1 - labels)) <= high, "all wrong"


def test_too_few_pictures_leave_the_probabilities_alone_and_say_so():
    for answers in (Answers(np.zeros((0, 4)), np.zeros(0, int)), drawn(1, MIN_IMAGES - 1)):
        found = fit_calibration(answers, source="validation images")
        assert (found.temperature, found.abstain_below, found.fitted) == (1.0, None, False)
        assert f"{len(answers)} validation images are too few" in found.notes[0]


def test_the_threshold_reaches_its_target_and_no_lower_one_does():
    answers = drawn(2, 600)
    found = fit_calibration(answers, source="calibration images")
    probabilities = answers.probabilities(found.temperature)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == answers.truth
    assert found.abstain_below is not None
    assert found.notes == ()

    def reaches(threshold: float) -> bool:
        answered = confidence >= threshold
        # The lower end of a two-sided 80% interval is that of a one-sided 90% one.
        return wilson_interval(int(right[answered].sum()), int(answered.sum()), 0.8).low >= 0.95

    assert reaches(found.abstain_below)
    assert not any(reaches(c) for c in np.floor(confidence * 1e4) / 1e4 if c < found.abstain_below - 1e-9)


def test_the_threshold_of_very_many_images_comes_at_once():
    confidence = np.linspace(0.05, 0.999, 50_000)  # each of its own
    started = time.process_time()
    assert abstention_threshold(confidence, np.random.default_rng(0).random(50_000) < 0.7) is None
    found = abstention_threshold(confidence, np.arange(50_000) >= 48_000)
    assert time.process_time() - started < 5
    assert found == pytest.approx(confidence[47_900], abs=1e-3)


def test_a_perfect_set_needs_a_certain_size_to_show_it():
    enough = images_for(0.95)
    assert enough == 32
    confidence = np.linspace(0.6, 0.9, enough)
    assert abstention_threshold(confidence, np.ones(enough, bool)) == pytest.approx(0.6, abs=2e-4)
    assert abstention_threshold(confidence[1:], np.ones(enough - 1, bool)) is None


def test_a_missing_threshold_is_explained():
    labels = np.arange(30) % 2
    found = fit_calibration(Answers(5.0 * np.eye(2)[labels], labels), source="validation images")
    assert "can only be shown with 32 or more images, and 30 of 30 validation images are right" in found.notes[0]
    answers = Answers(np.random.default_rng(0).normal(0, 1, (100, 2)), np.arange(100) % 2)
    found = fit_calibration(answers, source="validation images")
    assert found.abstain_below is None
    assert "no top probability gives an accuracy of 95%" in found.notes[0]


def test_arguments_are_checked():
    answers = drawn(3, 30)
    with pytest.raises(CalibrationError, match=r"logits \(30, 4\) and labels \(29,\) found"):
        Answers(answers.logits, answers.truth[1:])
    with pytest.raises(CalibrationError, match=r"labels: found .* to 4, expected 0 to 3"):
        Answers(answers.logits, np.append(answers.truth[1:], 4))
    answers.logits[0, 0] = np.nan
    with pytest.raises(CalibrationError, match=r"logits: found values that are not finite; .* lower --lr"):
        fit_calibration(answers, source="images")


def test_a_few_right_answers_do_not_sharpen_where_that_is_forbidden():
    answers = Answers(np.tile([4.0, 0.0], (30, 1)), np.zeros(30, dtype=np.int64))
    assert fit_calibration(answers, source="images").temperature < 1
    modest = fit_calibration(answers, source="images", may_sharpen=False)
    assert modest.temperature == 1
    assert modest.fitted
