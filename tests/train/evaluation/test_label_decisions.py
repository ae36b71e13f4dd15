"""Temperature and threshold of each label: by F1 or by precision, as a slow search finds them; too few images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from tl_train.evaluation.label_decisions import (
    best_f1_threshold,
    fit_decisions,
    fit_label_temperature,
    precision_threshold,
)
from tl_train.evaluation.multi_label import LabelAnswers

SCORED = st.lists(
    st.tuples(st.sampled_from([0.01, 0.1, 0.2, 0.35, 0.5, 0.8, 0.95]), st.booleans()), min_size=2, max_size=30
)


@given(SCORED.filter(lambda rows: any(truth for _, truth in rows)))
def test_no_threshold_has_a_better_f1(rows):
    probabilities, truth = (np.array(column) for column in zip(*rows, strict=True))
    found = best_f1_threshold(probabilities, truth)
    best = max(f1_score(truth, probabilities >= threshold) for threshold in (0, *np.unique(probabilities)))
    assert f1_score(truth, probabilities >= found) == pytest.approx(best)


@given(SCORED, st.sampled_from([0.3, 0.6, 0.9, 1.0]))
def test_no_lower_threshold_is_as_precise(rows, wanted):
    probabilities, truth = (np.array(column) for column in zip(*rows, strict=True))
    found = precision_threshold(probabilities, truth, wanted)
    reaching = [p for p in np.unique(probabilities) if truth[probabilities >= p].mean() >= wanted]
    if found is None:
        assert not reaching
    else:
        assert set(probabilities[probabilities >= found]) == set(probabilities[probabilities >= min(reaching)])


def test_a_threshold_lies_between_what_was_seen():
    assert best_f1_threshold(np.array([0.2, 0.4, 0.8]), np.array([False, False, True])) == pytest.approx(0.6)
    assert best_f1_threshold(np.array([0.2, 0.4]), np.array([True, True])) == pytest.approx(0.1)


@pytest.mark.parametrize("near", [1 - np.array([1e-9, 2e-9, 3e-9]), np.array([0.5, 0.5 - 1e-9, 0.5 - 2e-9])])
def test_probabilities_next_to_each_other_are_told_apart(near):
    probabilities, truth = np.append(near, 0.2), np.array([True, True, False, False])
    for found in (best_f1_threshold(probabilities, truth), precision_threshold(probabilities, truth, 1.0)):
        assert (probabilities >= found).tolist() == truth.tolist()


def logits_of(images=4000, factor=1.0, seed=0):
    random = np.random.default_rng(seed)
    logits = random.normal(size=images) * 2
    return logits * factor, random.random(images) < 1 / (1 + np.exp(-logits))


def test_the_temperature_is_that_which_the_logits_were_made_with():
    assert fit_label_temperature(*logits_of(factor=3)) == pytest.approx(3, rel=0.1)
    assert fit_label_temperature(*logits_of(factor=0.5)) == pytest.approx(0.5, rel=0.1)


def test_each_label_has_its_own_and_only_known_images_count():
    columns = [logits_of(factor=factor, seed=seed) for seed, factor in enumerate((3, 0.5))]
    logits = np.stack([column for column, _ in columns], axis=1)
    targets = np.stack([truth for _, truth in columns], axis=1).astype(float)
    found = fit_decisions(LabelAnswers(logits, targets), ("a", "b"), source="images")
    np.testing.assert_allclose(found.temperatures, [3, 0.5], rtol=0.1)
    modest = fit_decisions(LabelAnswers(logits, targets), ("a", "b"), source="images", may_sharpen=False)
    assert modest.temperatures[1] == 1
    logits, targets = np.append(logits, [[80, -80]] * 500, axis=0), np.append(targets, [[np.nan] * 2] * 500, axis=0)
    again = fit_decisions(LabelAnswers(logits, targets), ("a", "b"), source="images")
    np.testing.assert_array_equal(again.temperatures, found.temperatures)
    np.testing.assert_array_equal(again.thresholds, found.thresholds)


def test_labels_of_few_images_keep_one_half_and_are_named():
    logits, truth = logits_of(images=40)
    targets = np.stack([truth.astype(float), np.zeros(40)], axis=1)
    targets[:4, 1] = 1
    found = fit_decisions(LabelAnswers(np.stack([logits, logits], axis=1), targets), ("a", "rare"), source="images")
    assert (found.temperatures[1], found.thresholds[1]) == (1, 0.5)
    assert found.thresholds[0] != 0.5
    (note,) = found.notes
    assert note.startswith("Labels without a threshold of their own (0.5), and uncalibrated: rare; fewer than 5 of the")


def test_a_precision_out_of_reach_is_said():
    logits, truth = logits_of(images=200)
    logits[logits.argmax()], truth[logits.argmax()] = 20, False
    answers = LabelAnswers(logits[:, np.newaxis], truth[:, np.newaxis].astype(float))
    found = fit_decisions(answers, ("a",), source="images", precision=1.0)
    assert found.notes == ("Labels with the threshold of their best F1, as none gives a precision of 1: a.",)
    reached = fit_decisions(answers, ("a",), source="images", precision=0.8)
    given_label = 1 / (1 + np.exp(-logits / reached.temperatures[0])) >= reached.thresholds[0]
    assert truth[given_label].mean() >= 0.8
    assert not reached.notes


def test_without_images_nothing_is_said_of_single_labels():
    found = fit_decisions(LabelAnswers(np.zeros((0, 2)), np.zeros((0, 2))), ("a", "b"), source="validation images")
    assert found.notes == (
        "Every threshold is 0.5 and the probabilities are uncalibrated: there are no validation images, or too few, to "
        "fit them on.",
    )
