"""A logistic regression per label: against a slow exact one, with unknown labels, folds, bits, faults."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tl_train.errors import DataError
from tl_train.head import label_heads, penalised
from tl_train.head.cross_validation import STRENGTHS
from tl_train.head.label_folds import label_folds
from tl_train.head.label_heads import check_label_counts, fit_label_heads


def silent(done, total):
    del done, total


def clouds(images=120, labels=4, width=30, seed=0, unknown=0.0):
    """Features in which each label has its own direction, and targets of which a share is unknown."""
    random = np.random.default_rng(seed)
    targets = (random.random((images, labels)) < np.linspace(0.5, 0.15, labels)).astype(np.float32)
    targets[:4] = np.tile([[1], [0]], (2, labels))
    directions = random.normal(size=(labels, width))
    features = targets @ directions + random.normal(size=(images, width)) * 1.5
    targets[4:][random.random((images - 4, labels)) < unknown] = np.nan
    return features.astype(np.float32), targets


def exact(features, targets, strength):
    """Weight and bias of one label: the features themselves, float64, a general minimiser."""
    features = features.astype(float)
    centred = features - features.mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=1).mean())
    design = np.hstack([centred / scale, np.ones((len(features), 1))])
    known = np.isfinite(targets)
    share = targets[known].mean()
    odds = math.log(share / (1 - share))

    def objective(weights):
        logits = design[known] @ weights + odds
        losses = np.logaddexp(0, np.where(targets[known] == 1, -1, 1) * logits)
        residual = 1 / (1 + np.exp(-logits)) - targets[known]
        gradient = design[known].T @ residual / known.sum() + strength * weights
        return losses.mean() + strength / 2 * (weights**2).sum(), gradient

    found = scipy.optimize.minimize(objective, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B",
                                    options={"maxiter": 20_000, "ftol": 1e-14, "gtol": 1e-9})  # fmt: skip
    weight = found.x[:-1] / scale
    return weight, found.x[-1] + odds - weight @ features.mean(axis=0)


@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_each_label_is_fitted_as_by_itself(unknown):
    features, targets = clouds(unknown=unknown)
    found = fit_label_heads(features, targets, 0, silent)
    assert len(set(found.strengths)) > 1, "or the test does not show that each label has its own"
    for place, strength in enumerate(found.strengths):
        weight, bias = exact(features, targets[:, place], strength)
        expected = features @ weight + bias
        logits = features @ found.weight[place] + found.bias[place]
        np.testing.assert_allclose(logits, expected, atol=0.01 * np.abs(expected).max())


def test_cross_fitted_logits_are_those_of_fits_without_the_fold():
    features, targets = clouds()
    found = fit_label_heads(features, targets, 3, silent)
    fold_of = label_folds(targets == 1, 10, 3)
    for fold in (0, 9):
        kept = fold_of != fold
        # The directions that the features are laid out in, and their scale, are those of all images.
        centred = features - features.mean(axis=0)
        scale = np.sqrt((centred.astype(float) ** 2).sum(axis=1).mean())
        masked = np.where(kept, targets[:, 1], np.nan)
        weight, bias = exact(features, masked, found.strengths[1])
        assert scale > 0
        expected = features[~kept] @ weight + bias
        np.testing.assert_allclose(found.cross_fitted[~kept, 1], expected, atol=0.02 * np.abs(expected).max() + 0.01)


def test_unknown_labels_change_nothing_whatever_the_others_are():
    features, targets = clouds()
    rows = slice(60, 90)
    targets[rows, 2] = np.nan
    found = fit_label_heads(features, targets, 0, silent)
    moved = features.copy()
    with_others = targets.copy()
    with_others[rows, 0] = 1 - with_others[rows, 0]
    other = fit_label_heads(moved, with_others, 0, silent)
    weight, bias = exact(features, targets[:, 2], other.strengths[2])
    expected = features @ weight + bias
    np.testing.assert_allclose(features @ other.weight[2] + other.bias[2], expected, atol=0.01 * np.abs(expected).max())
    assert not np.allclose(found.weight[0], other.weight[0])


def test_the_strength_is_the_strongest_within_a_standard_error():
    features, targets = clouds()
    found = fit_label_heads(features, targets, 0, silent)
    for strength, table in zip(found.strengths, found.tables, strict=True):
        assert [row.strength for row in table] == list(STRENGTHS[: len(table)])
        best = min(table, key=lambda row: row.log_loss)
        allowed = best.log_loss + max(best.standard_error, math.log(2) / len(features))
        assert strength == max(row.strength for row in table if row.log_loss <= allowed)
        if len(table) < len(STRENGTHS):
            assert table[-1].log_loss > best.log_loss + 2 * best.standard_error


def test_narrow_products_give_the_same(monkeypatch):
    features, targets = clouds(images=60)
    found = fit_label_heads(features, targets, 0, silent)
    monkeypatch.setattr(label_heads, "MAX_COLUMNS", 40)  # all folds of all labels, still
    again = fit_label_heads(features, targets, 0, silent)
    np.testing.assert_array_equal(found.weight, again.weight)
    monkeypatch.setattr(label_heads, "MAX_COLUMNS", 3)  # three labels of four at a time, one fold of them
    monkeypatch.setattr(penalised, "_MANY_IMAGES", 10)
    narrow = fit_label_heads(features, targets, 0, silent)
    assert narrow.cross_fitted.all()
    for place in range(4):
        weight, bias = exact(features, targets[:, place], narrow.strengths[place])
        expected = features @ weight + bias
        logits = features @ narrow.weight[place] + narrow.bias[place]
        np.testing.assert_allclose(logits, expected, atol=0.01 * np.abs(expected).max())


def test_any_number_of_threads_gives_the_same_bits():
    features, targets = clouds(images=1200)
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(fit_label_heads(features, targets, 0, silent))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found[0].weight, found[1].weight)
    np.testing.assert_array_equal(found[0].cross_fitted, found[1].cross_fitted)


def test_progress_never_goes_back():
    told = []
    features, targets = clouds(images=60)
    fit_label_heads(features, targets, 0, lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (len(STRENGTHS) + 2,) * 2


def test_features_that_are_not_finite_are_refused():
    features, targets = clouds()
    features[3, 2] = np.nan
    with pytest.raises(DataError, match="features: found NaN or infinity"):
        fit_label_heads(features, targets, 0, silent)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1, 0, 0, 0], r"label 'b': 1 training image\(s\) have it, expected at least 2"),
        ([1, 1, 1, 0], r"label 'b': 1 training image\(s\) are known not to have it"),
        ([1, np.nan, 0, 0], r"label 'b': 1 training image\(s\) have it"),
    ],
)
def test_a_label_that_cannot_be_learned_is_named(column, message):
    targets = np.array([[1, 1, 0, 0], column], np.float32).T
    with pytest.raises(DataError, match=message):
        check_label_counts(targets, ("a", "b"))
    check_label_counts(targets[:, :1], ("a",))


@settings(max_examples=60)
@given(
    images=st.integers(10, 80), labels=st.integers(1, 6), count=st.integers(2, 10), seed=st.integers(0, 99),
    rare=st.floats(0.02, 0.6),
)  # fmt: skip
def test_folds_spread_images_and_labels(images, labels, count, seed, rare):
    random = np.random.default_rng(seed)
    present = random.random((images, labels)) < rare
    fold_of = label_folds(present, count, seed)
    np.testing.assert_array_equal(fold_of, label_folds(present, count, seed))
    assert set(fold_of.tolist()) <= set(range(count))
    if labels == 1:
        for group in (present[:, 0], ~present[:, 0]):
            sizes = np.bincount(fold_of[group], minlength=count)
            assert sizes.max() - sizes.min() <= (1 if group is present[:, 0] else count)
    rarest = int(present.sum(axis=0).argmin())
    sizes = np.bincount(fold_of[present[:, rarest]], minlength=count)
    assert sizes.max() <= math.ceil(present[:, rarest].sum() / count) + labels


def test_a_rare_label_among_many_is_judged_on_images_with_and_without_it():
    """So many labels leave room for one fold of ten; the four images of which a label is known may all be in others."""
    features, targets = clouds(images=80, labels=140)
    targets[:, :10] = np.nan
    for label in range(10):
        targets[4 * label : 4 * label + 4, label] = [1, 1, 0, 0]
    fold_of = label_folds(targets == 1, 10, 0)
    assert any((fold_of[4 * label : 4 * label + 4] > 0).all() for label in range(10))
    found = fit_label_heads(features, targets, 0, silent)
    assert np.isfinite([tried.log_loss for table in found.tables for tried in table]).all()
    assert np.isfinite(found.cross_fitted).all()
