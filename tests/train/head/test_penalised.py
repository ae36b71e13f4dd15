import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from tl_train.errors import DataError
from tl_train.head.penalised import STRENGTHS, StrengthTried, choose_strength, fit_penalised_head, folds


def clouds(classes=3, each=12, width=40, apart=1.0, seed=0):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    centres = random.normal(size=(classes, width)) * apart
    return (centres[labels] + random.normal(size=(len(labels), width))).astype(np.float32), labels


@pytest.mark.parametrize("each", [12, 40])  # fewer and more pictures than features
def test_it_agrees_with_scikit_learns_logistic_regression(each):
    from sklearn.linear_model import LogisticRegression

    features, labels = clouds(each=each, apart=0.4)
    ours = fit_penalised_head(features, labels, None, None, seed=0)
    centred = features.astype(float) - features.mean(axis=0)
    scaled = centred / np.sqrt((centred**2).sum(axis=1).mean())
    with_one = np.hstack([scaled, np.ones((len(scaled), 1))])  # our bias is penalised too
    theirs = LogisticRegression(
        C=1 / (ours.strength * len(labels)), fit_intercept=False, tol=1e-10, max_iter=10000
    ).fit(with_one, labels)
    expected = log_softmax(with_one @ theirs.coef_.T, axis=1)
    found = log_softmax((features @ ours.weight.T + ours.bias).astype(float), axis=1)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_right_head_is_kept_and_helps_where_pictures_are_few():
    features, labels = clouds(each=100, apart=0.35, seed=4)
    few = np.concatenate([np.flatnonzero(labels == label)[:4] for label in range(3)])
    rest = np.setdiff1d(np.arange(len(labels)), few)
    means = np.stack([features[labels == label].mean(axis=0) for label in range(3)]).astype(float)
    bias = -0.5 * (means**2).sum(axis=1)  # the best linear head for clouds of one shape
    accuracy = {}
    for name, (weight, offset) in {"zero": (None, None), "known": (means, bias)}.items():
        head = fit_penalised_head(features[few], labels[few], weight, offset, seed=0)
        accuracy[name] = (np.argmax(features[rest] @ head.weight.T + head.bias, axis=1) == labels[rest]).mean()
    assert accuracy["known"] > accuracy["zero"] + 0.05


def test_the_strongest_penalty_keeps_the_given_head():
    features, labels = clouds(apart=0.0)  # nothing to learn
    given_weight, given_bias = np.zeros((3, features.shape[1])), np.zeros(3)
    head = fit_penalised_head(features, labels, given_weight, given_bias, seed=0)
    assert head.strength == STRENGTHS[0]
    assert np.abs(head.weight).max() < 1e-3


def test_the_same_seed_gives_the_same_bits():
    features, labels = clouds()
    first, again = (fit_penalised_head(features, labels, None, None, seed=5) for _ in range(2))
    assert first.weight.tobytes() == again.weight.tobytes()
    assert first.table == again.table


def test_the_strongest_within_the_error_is_chosen():
    table = (StrengthTried(10.0, 0.5, 0.1), StrengthTried(1.0, 0.3, 0.1), StrengthTried(0.1, 0.25, 0.06))
    assert choose_strength(table, 0.0) == 1.0
    assert choose_strength(table, 0.04) == 1.0
    assert choose_strength(table, 0.25) == 10.0
    assert choose_strength((table[0], table[1], StrengthTried(0.1, 0.2, 0.01)), 0.0) == 0.1


@given(st.lists(st.integers(0, 3), min_size=8, max_size=60), st.integers(2, 10), st.integers(0, 99))
def test_folds_spread_every_class_evenly(labels, count, seed):
    labels = np.array(labels)
    assigned = folds(labels, count, seed)
    for label in np.unique(labels):
        sizes = np.bincount(assigned[labels == label], minlength=count)
        assert sizes.max() - sizes.min() <= 1


def test_a_class_of_one_picture_is_named():
    with pytest.raises(DataError, match=r"class 2: 1 training picture\(s\), expected at least 2"):
        fit_penalised_head(np.eye(5, dtype=np.float32), np.array([0, 0, 1, 1, 2]), None, None, seed=0)
    with pytest.raises(DataError, match=r"class 2: 0 training picture"):
        fit_penalised_head(np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1]), None, None, seed=0, classes=3)
