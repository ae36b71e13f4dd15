"""Answers judged by what is true of the images, and what is lost between two files."""

import dataclasses

import numpy as np
import pytest
from scipy.special import logit

from support import onnx_bytes
from tl_export.smaller.judged import MEAN_AVERAGE_PRECISION, JudgedClasses, JudgedLabels, judge, loss_between
from tl_infer import ModelSpec
from tl_train.data.samples import Sample, truth_of
from tl_train.evaluation.multi_label import LabelAnswers, LabelEvaluation


def test_what_is_lost_is_measured_image_by_image():
    before = JudgedClasses(np.array([True] * 8 + [False] * 2), np.full(10, 0.5))
    after = JudgedClasses(np.array([True] * 6 + [False] * 3 + [True]), np.full(10, 0.75))
    loss = loss_between(before, after)
    assert (loss.score.value, loss.pictures) == (pytest.approx(0.1), 10)
    assert (loss.log_loss.value, loss.log_loss.low) == (0.25, 0.25)
    assert loss_between(before.joined(before), before.joined(after)).score.value == pytest.approx(0.05)


def several(images=40):
    """Targets of three labels, a tenth of them unknown, and logits that know something of them."""
    random = np.random.default_rng(3)
    targets = random.integers(0, 2, (images, 3)).astype(np.float32)
    logits = (2 * targets - 1 + 2 * random.normal(size=targets.shape)).astype(np.float32)
    targets[random.random(targets.shape) < 0.1] = np.nan
    return logits, targets


def test_several_labels_are_judged_as_in_the_report():
    logits, targets = several()
    temperatures = np.array([0.5, 1.0, 2.0])
    found = JudgedLabels.of(logits, targets, temperatures)
    report = LabelEvaluation("test", LabelAnswers(logits, targets), temperatures, np.full(3, 0.5))
    assert found.score == pytest.approx(report.mean_average_precision)
    assert found.log_losses.mean() == pytest.approx(report.log_loss)
    both = found.joined(found)
    assert (len(both), both.score) == (80, pytest.approx(found.score))


def test_what_several_labels_lose_is_map_and_log_loss():
    logits, targets = several(400)
    before = JudgedLabels.of(logits, targets, [1.0] * 3)
    noise = np.random.default_rng(0).normal(size=logits.shape)
    loss = loss_between(before, JudgedLabels.of(logits + 2 * noise, targets, [1.0] * 3))
    assert (loss.metric, loss.pictures) == (MEAN_AVERAGE_PRECISION, 400)
    assert 0 < loss.score.low < loss.score.value < loss.score.high < 0.3
    assert loss.log_loss.low > 0


def test_a_spec_says_how_logits_are_judged():
    logits, targets = several()
    spec = ModelSpec.from_json(onnx_bytes.several_spec())
    assert isinstance(judge(logits, np.where(np.isnan(targets), 0, targets), spec), JudgedLabels)
    colder = judge(logits, targets, dataclasses.replace(spec, temperatures=(2.0, 2.0, 2.0)))
    assert colder.probabilities == pytest.approx(1 / (1 + np.exp(-logits / 2)))
    single = judge(logit(np.array([[0.7, 0.2, 0.1]])), np.array([0]), onnx_bytes.SPEC)
    assert (len(single), single.score) == (1, 1.0)
    assert truth_of([Sample("a", 2), Sample("b", 0)]).tolist() == [2, 0]
    assert truth_of([Sample("a", -1, targets=targets[0])]).shape == (1, 3)
