"""What is measured of several labels, against scikit-learn; labels of which nothing is known count nowhere."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, log_loss

from tl_train.errors import CalibrationError
from tl_train.evaluation.multi_label import LabelAnswers, LabelEvaluation, label_measurements

LABELS = ("a", "b", "c")


def evaluation_of(unknown=0.0, images=80, seed=0, temperatures=(1.0, 2.0, 0.5), thresholds=(0.5, 0.4, 0.7)):
    random = np.random.default_rng(seed)
    targets = (random.random((images, 3)) < [0.5, 0.3, 0.2]).astype(float)
    logits = (2 * targets - 1 + random.normal(size=targets.shape) * 1.5).astype(np.float32)
    targets[random.random(targets.shape) < unknown] = np.nan
    return LabelEvaluation("test", LabelAnswers(logits, targets), np.array(temperatures), np.array(thresholds))


def test_figures_are_those_of_scikit_learn():
    found = evaluation_of()
    truth, given = found.answers.targets.astype(int), found.predicted.astype(int)
    np.testing.assert_allclose(
        found.probabilities[:, 1], 1 / (1 + np.exp(-found.answers.logits[:, 1].astype(float) / 2))
    )
    assert found.mean_average_precision == pytest.approx(average_precision_score(truth, found.probabilities))
    assert found.micro_f1 == pytest.approx(f1_score(truth, given, average="micro"))
    assert found.macro_f1 == pytest.approx(f1_score(truth, given, average="macro"))
    assert found.exact_matches == (truth == given).all(axis=1).sum()
    losses = [log_loss(truth[:, place], found.probabilities[:, place]) for place in range(3)]
    assert found.log_loss == pytest.approx(np.mean(losses))
    np.testing.assert_array_equal(found.co_occurrence(), truth.T @ truth)


def test_unknown_labels_count_nowhere():
    found = evaluation_of(unknown=0.4)
    known = found.answers.known
    for place, score in enumerate(found.scores):
        truth, given = found.answers.targets[known[:, place], place], found.predicted[known[:, place], place]
        assert score.f1 == pytest.approx(f1_score(truth, given))
        expected = average_precision_score(truth, found.probabilities[known[:, place], place])
        assert score.average_precision == pytest.approx(expected)
        assert (score.present, score.absent) == (truth.sum(), (truth == 0).sum())
        assert score.unknown == (~known[:, place]).sum() > 0
    moved = found.answers.logits.copy()
    moved[~known] = 50
    other = dataclasses.replace(found, answers=LabelAnswers(moved, found.answers.targets))
    first, second = (label_measurements(each, LABELS) for each in (found, other))
    assert first == second


def test_a_label_that_no_image_has_is_not_measured():
    found = evaluation_of()
    targets = found.answers.targets.copy()
    targets[:, 2] = 0
    found = dataclasses.replace(found, answers=LabelAnswers(found.answers.logits, targets), thresholds=np.full(3, 1.0))
    score = found.scores[2]
    assert (score.average_precision, score.precision, score.recall, score.f1) == (None, None, None, None)
    precisions = [one.average_precision for one in found.scores[:2]]
    assert found.mean_average_precision == pytest.approx(np.mean(precisions))
    json.dumps(label_measurements(found, LABELS), allow_nan=False)


def test_answers_that_mean_nothing_are_refused():
    with pytest.raises(CalibrationError, match=r"logits \(2, 3\) and targets \(2, 2\)"):
        LabelAnswers(np.zeros((2, 3)), np.zeros((2, 2)))
    with pytest.raises(CalibrationError, match="not finite"):
        LabelAnswers(np.array([[np.nan]]), np.zeros((1, 1)))
