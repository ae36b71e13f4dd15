import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from tl_train.evaluation.label_decisions import fit_label_temperatures
from tl_train.evaluation.multi_label import LabelAnswers, LabelEvaluation
from tl_train.training.interpolation import (
    ALPHAS,
    AlphaTried,
    choose_alpha,
    copy_weights,
    cross_chosen,
    interpolate,
    keep_what_pays,
    try_alphas,
)


def tried(*means, images=100, noise=0.0):
    """Losses with these means; the differences between them vary by `noise` from image to image."""
    random = np.random.default_rng(0)
    shared = random.random(images)
    return [
        AlphaTried(
            alpha, shared + mean + noise * random.standard_normal(images), 0.5, np.zeros((images, 2), np.float32)
        )
        for alpha, mean in zip(ALPHAS, means, strict=True)
    ]


@pytest.mark.parametrize(
    ("means", "noise", "alpha"),
    [
        ((0.5, 0.4, 0.3, 0.2, 0.1), 0.0, 1.0),
        ((0.1, 0.2, 0.3, 0.4, 0.5), 0.0, 0.0),
        ((0.5, 0.4, 0.3, 0.2, 0.1), 4.0, 0.0),  # the gain may be chance
        ((0.5, 0.1, 0.15, 0.2, 0.3), 0.0, 0.25),
        ((0.5, 0.1, 0.15, 0.2, 0.3), 1.0, 0.5),  # no worse than 0.25, as far as can be seen
        ((0.5, 0.3, 0.2, 0.2, 0.2), 0.0, 0.5),
    ],
)
def test_alpha_is_the_middle_unless_the_images_say_otherwise(means, noise, alpha):
    assert choose_alpha(tried(*means, noise=noise)) == alpha


def test_one_image_or_a_diverged_training_keeps_the_start():
    assert choose_alpha(tried(0.5, 0.4, 0.3, 0.2, 0.1, images=1)) == 0.0
    start, *others = tried(0.5, 0.4, 0.3, 0.2, 0.1)
    diverged = [dataclasses.replace(one, losses=np.full(100, np.nan)) for one in others]
    assert choose_alpha([start, *diverged]) == 0.0
    # weights that overflow halfway are never the ones in the middle
    assert choose_alpha([start, others[0], *diverged[1:]]) == 0.25


def network():
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def test_weights_lie_between_start_and_end():
    torch.manual_seed(0)
    module = network()
    start = copy_weights(network())
    start["1.num_batches_tracked"] += 7
    end = copy_weights(module)
    for alpha in ALPHAS:
        interpolate(module, start, end, alpha)
        for name, tensor in module.state_dict().items():
            expected = start[name] if name.endswith("tracked") else start[name] + alpha * (end[name] - start[name])
            torch.testing.assert_close(tensor, expected)
    interpolate(module, start, end, 0.0)
    assert all(torch.equal(tensor, start[name]) for name, tensor in module.state_dict().items())


def test_weights_that_are_no_numbers_leave_the_start():
    torch.manual_seed(0)
    module, start = network().eval(), copy_weights(network())
    inputs, truth = torch.randn(50, 4), np.arange(50) % 3
    with torch.no_grad():
        module[0].weight[0, 0] = torch.nan

    def answer():
        with torch.inference_mode():
            return module(inputs).numpy()

    assert keep_what_pays(module, start, answer, truth).alpha == 0.0
    assert all(torch.equal(tensor, start[name]) for name, tensor in module.state_dict().items())


def test_trying_leaves_the_end_in_place_and_ignores_the_temperature():
    torch.manual_seed(0)
    module = network().eval()
    start, end = copy_weights(network()), copy_weights(module)
    inputs, truth = torch.randn(50, 4), np.arange(50) % 3

    def answers(scale=1.0):
        with torch.inference_mode():
            return scale * module(inputs).numpy()

    found = try_alphas(module, start, answers, truth)
    assert [one.alpha for one in found] == list(ALPHAS)
    assert all(torch.equal(tensor, end[name]) for name, tensor in module.state_dict().items())
    assert found[-1].accuracy == (answers().argmax(axis=1) == truth).mean()
    sharper = AlphaTried.of(1.0, answers(scale=2.0), truth)
    assert sharper.log_loss == pytest.approx(found[-1].log_loss, abs=0.01)


def test_no_image_has_a_part_in_the_weights_that_answer_it():
    """One half is told apart at alpha 1 alone, the other at alpha 0: each is answered as the other half wants."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 80)
    half = np.arange(80) % 2
    rows = []
    for alpha in ALPHAS:
        scale = np.where(half == 0, alpha, 1 - alpha)[:, np.newaxis]
        logits = (np.eye(2)[truth] * 4 * scale + random.normal(0, 0.5, (80, 2))).astype(np.float32)
        rows.append(AlphaTried.of(alpha, logits, truth))
    answers = cross_chosen(rows, truth)
    np.testing.assert_array_equal(answers[half == 0], rows[0].logits[half == 0])


def test_several_labels_are_judged_by_those_that_are_known():
    random = np.random.default_rng(0)
    targets = random.integers(0, 2, (60, 3)).astype(np.float32)
    logits = (3 * targets - 1.5 + random.normal(size=targets.shape)).astype(np.float32)
    unknown = random.random(targets.shape) < 0.3
    targets[unknown] = np.nan
    found = AlphaTried.of(0.5, logits, targets)
    answers = LabelAnswers(logits, targets)
    whole = LabelEvaluation("val", answers, fit_label_temperatures(answers), np.full(3, 0.5))
    known = ~unknown
    losses = np.log1p(np.exp(np.where(targets == 1, -1, 1) * logits / whole.temperatures))
    assert found.losses.shape == (60,)
    assert found.log_loss == pytest.approx(losses[known].mean())
    assert found.log_loss == pytest.approx(whole.log_loss)
    assert found.accuracy == ((logits > 0) == (targets == 1))[known].mean()
    logits[unknown] = 9
    np.testing.assert_array_equal(AlphaTried.of(0.5, logits, targets).losses, found.losses)
    logits[0, 0] = np.inf
    assert choose_alpha([found, AlphaTried.of(1.0, logits, targets)]) == 0.5, "the first"
