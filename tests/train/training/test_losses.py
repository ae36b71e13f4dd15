"""The loss of a batch of images with several labels, against one written out; what is unknown moves nothing."""

import math

import pytest
import torch
from torch.nn import functional

from tl_train.errors import TrainingError
from tl_train.training.losses import check_weights, count_right, mean_loss

UNKNOWN = math.nan
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [-0.5, 3.0, -2.0]])
TRUTH = torch.tensor([[1.0, 0.0, UNKNOWN], [1.0, UNKNOWN, 0.0]])


def test_known_labels_count_the_same():
    expected = [math.log1p(math.exp(-z)) for z in (2.0, 1.0, -0.5, 2.0)]
    assert mean_loss(LOGITS, TRUTH).item() == pytest.approx(sum(expected) / 4)
    assert count_right(LOGITS, TRUTH) == (3, 4)


def test_an_unknown_label_has_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    mean_loss(logits, TRUTH).backward()
    assert (logits.grad == 0).tolist() == [[False, False, True], [False, True, False]]


def test_nothing_known_is_no_loss():
    logits = LOGITS.clone().requires_grad_()
    loss = mean_loss(logits, torch.full_like(TRUTH, UNKNOWN))
    loss.backward()
    assert (loss.item(), logits.grad.abs().sum().item(), count_right(LOGITS, torch.full((2, 3), UNKNOWN))) == (
        0,
        0,
        (0, 0),
    )


def test_one_label_is_torchs_cross_entropy():
    labels, weights = torch.tensor([0, 1]), torch.tensor([1.0, 2.0, 3.0])
    expected = functional.cross_entropy(LOGITS, labels, weights, label_smoothing=0.1)
    assert mean_loss(LOGITS, labels, weights, 0.1).item() == expected.item()
    assert count_right(LOGITS, labels) == (2, 2)


def test_a_weight_that_is_no_number_is_named():
    module = torch.nn.Linear(2, 2)
    check_weights(module, 0.1)
    with torch.no_grad():
        module.bias[1] = math.inf
    with pytest.raises(TrainingError, match=r"bias is NaN or infinite, training has diverged; lower --lr \(0.1\)"):
        check_weights(module, 0.1)
