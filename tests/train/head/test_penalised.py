"""The fast fit against a slow exact one, written out here; the choice, the loss, the bits, the errors."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from tl_train.errors import DataError
from tl_train.head import coordinates, penalised
from tl_train.head.coordinates import Coordinates
from tl_train.head.cross_validation import STRENGTHS, StrengthTried, choose_strength
from tl_train.head.folds import Folding
from tl_train.head.loss import Loss
from tl_train.head.penalised import LinearHead, fit_penalised_head
from tl_train.head.regressions import Regressions
from tl_train.head.solver import minimise, worker_threads


def clouds(classes=3, each=12, width=40, apart=1.0, seed=0):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    centres = random.normal(size=(classes, width)) * apart
    return (centres[labels] + random.normal(size=(len(labels), width))).astype(np.float32), labels


class Exact:
    """The same fit, a strength and a fold at a time: float64, the features themselves, Newton's method in a region."""

    def __init__(self, features, labels, given, loss=None):
        loss = loss or Loss()
        features = features.astype(float)
        centred = features - features.mean(axis=0)
        self.design = np.hstack([centred / np.sqrt((centred**2).sum(axis=1).mean()), np.ones((len(labels), 1))])
        self.offsets = features @ given.weight.T + given.bias
        self.labels = labels
        self.targets = loss.targets(labels, len(given.bias)).numpy().astype(float)
        self.shares = loss.shares(labels).numpy()

    def fit(self, chosen, strength, start):
        """Weights (C, D + 1) of the fit on the chosen images."""
        design, offsets, targets = self.design[chosen], self.offsets[chosen], self.targets[chosen]
        shares = self.shares[chosen] / self.shares[chosen].sum()
        mass = targets.sum(axis=1, keepdims=True)

        def value(flat):
            weights = flat.reshape(start.shape)
            logs = log_softmax(offsets + design @ weights.T, axis=1)
            residual = shares[:, None] * (np.exp(logs) * mass - targets)
            loss = -(shares * (targets * logs).sum(axis=1)).sum() + strength / 2 * (flat**2).sum()
            return loss, (residual.T @ design + strength * weights).ravel()

        def hessian(flat):
            probabilities = np.exp(log_softmax(offsets + design @ flat.reshape(start.shape).T, axis=1))
            spread = np.einsum("nc,ce->nce", probabilities, np.eye(len(start)))
            spread -= probabilities[:, :, None] * probabilities[:, None]
            blocks = np.einsum("nce,nd,nf->cdef", spread * (shares * mass[:, 0])[:, None, None], design, design)
            return blocks.reshape(flat.size, flat.size) + strength * np.eye(flat.size)

        with np.errstate(invalid="ignore"):  # scipy 1.15 takes the root of a bound that may be below zero
            found = scipy.optimize.minimize(
                value, start.ravel(), jac=True, hess=hessian, method="trust-exact", tol=1e-9
            )
        return found.x.reshape(start.shape)

    def held_out(self, fold_of, strength, starts):
        """Logits (N, C), each from the fit without its fold; `starts` is updated."""
        logits = np.empty_like(self.offsets)
        for fold, start in enumerate(starts):
            starts[fold] = self.fit(fold_of != fold, strength, start)
            within = fold_of == fold
            logits[within] = self.offsets[within] + self.design[within] @ starts[fold].T
        return logits

    def table(self, fold_of):
        """The row of each strength; ends where weaker penalties are clearly worse."""
        count = fold_of.max() + 1
        starts = [np.zeros((self.offsets.shape[1], self.design.shape[1])) for _ in range(count)]
        rows = []
        for strength in STRENGTHS:
            logs = log_softmax(self.held_out(fold_of, strength, starts), axis=1)
            losses = -logs[np.arange(len(logs)), self.labels]
            means = [np.average(losses[fold_of == f], weights=self.shares[fold_of == f]) for f in range(count)]
            rows.append(StrengthTried(strength, np.mean(means), np.std(means, ddof=1) / math.sqrt(count)))
            best = min(rows, key=lambda row: row.log_loss)
            if rows[-1].log_loss > best.log_loss + 2 * best.standard_error:
                break
        return rows


def steps_apart(left, right):
    return abs(STRENGTHS.index(left) - STRENGTHS.index(right))


def row_of(table, strength):
    return next(row for row in table if row.strength == strength)


@st.composite
def problems(draw, least=3, most=12):
    """Features, labels, a head to be drawn to, a loss: more or fewer images than features, near or far classes."""
    classes, each, width = draw(st.integers(2, 4)), draw(st.integers(least, most)), draw(st.integers(2, 14))
    seed = draw(st.integers(0, 2**16))
    random = np.random.default_rng(seed)
    features, labels = clouds(classes, each, width, draw(st.sampled_from([0.1, 0.5, 1.0, 2.0])), seed)
    features *= random.exponential(size=width).astype(np.float32) + 0.05
    features += np.float32(draw(st.sampled_from([0.0, 5.0])))
    known = draw(st.booleans())
    head = LinearHead(random.normal(size=(classes, width)) * known, random.normal(size=classes) * known)
    weights = random.uniform(0.3, 3, classes) if draw(st.booleans()) else None
    return features, labels, head, Loss(weights, None, draw(st.sampled_from([0.0, 0.1])))


def compare_with_exact(problem, tolerance):
    features, labels, head, loss = problem
    found = fit_penalised_head(features, labels, head, Folding(0), loss)
    table = Exact(features, labels, head, loss).table(Folding(0).of_classes(labels, min(10, np.bincount(labels).min())))
    assert steps_apart(found.strength, choose_strength(table, np.log(2) / len(labels))) <= 1
    log_loss = row_of(table, found.strength).log_loss
    assert row_of(found.table, found.strength).log_loss == pytest.approx(log_loss, rel=0.01)
    assert abs(len(found.table) - len(table)) <= 1
    for row, exact in zip(found.table, table, strict=False):
        assert row.log_loss == pytest.approx(exact.log_loss, rel=tolerance, abs=1e-4)


@given(problem=problems())
@settings(max_examples=25)
def test_choice_and_log_loss_are_those_of_the_slow_exact_fit(problem):
    compare_with_exact(problem, tolerance=0.003)


@given(problem=problems(least=20, most=40))
@settings(max_examples=10)
def test_so_they_are_in_float32(problem):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coordinates, "_SMALL", 0)
        compare_with_exact(problem, tolerance=0.03)


@given(problem=problems())
@settings(max_examples=10)
def test_final_and_cross_fitted_logits_are_those_of_the_slow_exact_fit(problem):
    features, labels, head, loss = problem
    found = fit_penalised_head(features, labels, head, Folding(3), loss)
    exact = Exact(features, labels, head, loss)
    zero = np.zeros((len(head.bias), features.shape[1] + 1))
    weights = exact.fit(np.ones(len(labels), bool), found.strength, zero)
    logits = features @ found.weight.T + found.bias
    expected = exact.offsets + exact.design @ weights.T
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(log_softmax(logits, axis=1), log_softmax(expected, axis=1), atol=0.03 * scale)
    fold_of = Folding(3).of_classes(labels, min(10, np.bincount(labels).min()))
    expected = exact.held_out(fold_of, found.strength, [zero] * (fold_of.max() + 1))
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(
        log_softmax(found.cross_fitted, axis=1), log_softmax(expected, axis=1), atol=0.03 * scale
    )


@pytest.mark.parametrize("each", [12, 40])  # fewer and more images than features
def test_it_agrees_with_scikit_learns_logistic_regression(each):
    from sklearn.linear_model import LogisticRegression

    features, labels = clouds(each=each, apart=0.4)
    ours = fit_penalised_head(features, labels, LinearHead.zero(3, 40), Folding(0))
    with_one = Exact(features, labels, LinearHead.zero(3, 40)).design  # our bias is penalised too
    theirs = LogisticRegression(
        C=1 / (ours.strength * len(labels)), fit_intercept=False, tol=1e-10, max_iter=10000
    ).fit(with_one, labels)
    expected = log_softmax(with_one @ theirs.coef_.T, axis=1)
    found = log_softmax((features @ ours.weight.T + ours.bias).astype(float), axis=1)
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_searching_some_of_the_folds_chooses_alike(monkeypatch):
    features, labels = clouds(classes=6, each=60, width=30, apart=0.35)
    everything = fit_penalised_head(features, labels, LinearHead.zero(6, 30), Folding(0))
    monkeypatch.setattr(penalised, "MAX_COLUMNS", 12)  # two of five folds
    some = fit_penalised_head(features, labels, LinearHead.zero(6, 30), Folding(0))
    assert steps_apart(some.strength, everything.strength) <= 1
    fitted, expected = some.cross_fitted, everything.cross_fitted
    assert np.isfinite(fitted).all()
    assert (fitted.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.9
    accuracy = (fitted.argmax(axis=1) == labels).mean()
    assert accuracy == pytest.approx((expected.argmax(axis=1) == labels).mean(), abs=0.03)


@pytest.mark.parametrize("apart", [0.1, 0.2, 0.4])
def test_many_images_are_judged_with_rough_fits_that_choose_alike(monkeypatch, apart):
    features, labels = clouds(classes=4, each=3000, width=60, apart=apart)
    rough = fit_penalised_head(features, labels, LinearHead.zero(4, 60), Folding(0))
    assert penalised.judging_tolerance(len(labels)) is penalised.ROUGH_TOLERANCE
    monkeypatch.setattr(penalised, "ROUGH_TOLERANCE", penalised.TOLERANCE)
    exact = fit_penalised_head(features, labels, LinearHead.zero(4, 60), Folding(0))
    assert steps_apart(rough.strength, exact.strength) <= 1
    found, expected = (row_of(fit.table, rough.strength) for fit in (rough, exact))
    assert found.log_loss == pytest.approx(expected.log_loss, rel=0.01)
    assert abs(found.log_loss - expected.log_loss) < expected.standard_error / 5


def test_the_table_is_that_of_the_cross_fitted_logits():
    features, labels = clouds(each=30, apart=0.3)
    found = fit_penalised_head(features, labels, LinearHead.zero(3, 40), Folding(0))
    losses = -log_softmax(found.cross_fitted.astype(float), axis=1)[np.arange(len(labels)), labels]
    assert losses.mean() == pytest.approx(row_of(found.table, found.strength).log_loss, rel=2e-3)


def test_a_cross_fitted_image_had_no_part_in_its_head(monkeypatch):
    monkeypatch.setattr("tl_train.head.cross_validation.STRENGTHS", (0.1,))
    monkeypatch.setattr(penalised, "STRENGTHS", (0.1,))
    features, labels = clouds(each=30, apart=0.3)
    fold_of = Folding(0).of_classes(labels, 10)
    true = fit_penalised_head(features, labels, LinearHead.zero(3, 40), Folding(0)).cross_fitted
    without = Loss(image_weights=np.where(fold_of == 4, 1e-9, 1.0))
    ignored = fit_penalised_head(features, labels, LinearHead.zero(3, 40), Folding(0), without).cross_fitted
    np.testing.assert_allclose(ignored[fold_of == 4], true[fold_of == 4], atol=2e-3)
    assert np.abs(ignored - true)[fold_of != 4].max() > 0.01  # the others' heads did see them


def test_the_loss_is_torchs_cross_entropy():
    labels = np.array([0, 2, 1, 1, 2])
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = np.array([0.5, 2.0, 1.0])
    for class_weights, smoothing in ((None, 0.0), (weights, 0.0), (None, 0.2), (weights, 0.2)):
        loss = Loss(class_weights, None, smoothing)
        expected = torch.nn.functional.cross_entropy(
            logits, torch.tensor(labels), None if class_weights is None else torch.tensor(weights),
            label_smoothing=smoothing,
        )  # fmt: skip
        losses = -(loss.targets(labels, 3) * logits.log_softmax(dim=1)).sum(dim=1)
        assert float((losses * loss.shares(labels)).sum()) == pytest.approx(float(expected), rel=1e-6)


def test_an_image_that_weighs_twice_is_two_images():
    features, labels = clouds(each=20, apart=0.3)
    chosen = np.arange(len(labels)) % 3 == 0
    weights = np.where(chosen, 2.0, 1.0)
    exact = Exact(features, labels, LinearHead.zero(3, 40), Loss(image_weights=weights))
    twice = np.concatenate([np.arange(len(labels)), np.flatnonzero(chosen)])
    zero = np.zeros((3, 41))
    once = Exact(features, labels, LinearHead.zero(3, 40))
    np.testing.assert_allclose(exact.fit(np.arange(len(labels)), 0.01, zero), once.fit(twice, 0.01, zero), atol=1e-6)


def test_a_right_head_is_kept_and_helps_where_images_are_few():
    features, labels = clouds(each=100, apart=0.35, seed=4)
    few = np.concatenate([np.flatnonzero(labels == label)[:4] for label in range(3)])
    rest = np.setdiff1d(np.arange(len(labels)), few)
    means = np.stack([features[labels == label].mean(axis=0) for label in range(3)]).astype(float)
    known = LinearHead(means, -0.5 * (means**2).sum(axis=1))  # the best linear head for clouds of one shape
    accuracy = {}
    for name, head in {"zero": LinearHead.zero(3, features.shape[1]), "known": known}.items():
        found = fit_penalised_head(features[few], labels[few], head, Folding(0))
        accuracy[name] = (np.argmax(features[rest] @ found.weight.T + found.bias, axis=1) == labels[rest]).mean()
    assert accuracy["known"] > accuracy["zero"] + 0.05


def test_where_there_is_nothing_to_learn_the_given_head_stays():
    features, labels = clouds(apart=0.0)
    found = fit_penalised_head(features, labels, LinearHead.zero(3, 40), Folding(0))
    assert found.strength == STRENGTHS[0]
    assert np.abs(found.weight).max() < 1e-3


def test_images_that_are_all_alike_leave_the_bias():
    labels = np.repeat([0, 0, 1], 8)
    found = fit_penalised_head(np.ones((24, 5), np.float32), labels, LinearHead.zero(2, 5), Folding(0))
    assert not found.weight.any()
    assert np.isfinite(found.cross_fitted).all()


@pytest.mark.parametrize(("each", "width"), [(20, 40), (600, 1000)])
def test_the_same_arguments_give_the_same_bits_with_any_number_of_threads(each, width):
    features, labels = clouds(each=each, width=width, apart=0.1)
    moved = np.empty(features.size + 1, np.float32)[1:].reshape(features.shape)  # elsewhere in memory, not aligned
    moved[:] = features
    threads = torch.get_num_threads()
    found = []
    try:
        for count, given_features in ((1, features), (2, features), (2, moved)):
            torch.set_num_threads(count)
            found.append(fit_penalised_head(given_features, labels, LinearHead.zero(3, width), Folding(5)))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert other.weight.tobytes() == found[0].weight.tobytes()
        assert other.cross_fitted.tobytes() == found[0].cross_fitted.tobytes()
        assert other.table == found[0].table


def test_progress_grows_to_the_end():
    features, labels = clouds()
    calls = []
    fit_penalised_head(
        features, labels, LinearHead.zero(3, 40), Folding(0), report=lambda done, total: calls.append((done, total))
    )
    assert calls == sorted(calls)
    assert calls[-1] == (len(STRENGTHS) + 2, len(STRENGTHS) + 2)
    assert len(calls) > 2 * len(STRENGTHS)


def test_torch_keeps_its_threads_when_the_fit_is_interrupted():
    features, labels = clouds()

    def interrupt(done, total):
        raise KeyboardInterrupt

    before = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        fit_penalised_head(features, labels, LinearHead.zero(3, 40), Folding(0), report=interrupt)
    assert torch.get_num_threads() == before


@given(seed=st.integers(0, 2**16), strength=st.sampled_from([1e-5, 1e-3, 1.0]), size=st.sampled_from([0.0, 1.0, 5.0]))
@settings(max_examples=20)
def test_the_least_objective_is_found_from_any_start(seed, strength, size):
    features, labels = clouds(each=10, width=6, apart=2.0, seed=seed)
    found = Coordinates.of(features, lambda: None)
    shares = torch.full((30, 1), 1 / 30, dtype=torch.float64)
    with worker_threads() as workers:
        offsets, targets = torch.zeros(30, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[labels]
        problem = Regressions(found.values, found.variances, offsets, targets, shares, workers)
        objectives = []
        for start in (problem.zeros(), torch.from_numpy(np.random.default_rng(seed).normal(size=(7, 1, 3))) * size):
            weights, logits = minimise(problem, strength, start, lambda: None)
            objectives.append(float(problem.gradient(logits)[0] + strength / 2 * (weights**2).sum()))
    assert objectives[1] == pytest.approx(objectives[0], rel=1e-4, abs=1e-8)


@given(count=st.integers(3, 60), width=st.integers(1, 40), far=st.sampled_from([0.0, 100.0]))
@settings(max_examples=25)
def test_weights_mean_the_same_for_coordinates_and_features(count, width, far):
    random = np.random.default_rng(count * width)
    features = (random.normal(size=(count, width)) + far).astype(np.float32)
    found = Coordinates.of(features, lambda: None)
    weights = torch.from_numpy(random.normal(size=(found.values.shape[1], 2)))
    weight, bias = found.to_features(weights)
    np.testing.assert_allclose(features @ weight.T + bias, (found.values @ weights).numpy(), atol=1e-5)
    centred = features - features.mean(axis=0, dtype=float)
    lengths = (centred**2).sum(axis=1)
    np.testing.assert_allclose((found.values[:, :-1] ** 2).sum(dim=1) * found.scale**2, lengths, rtol=1e-4, atol=1e-4)


def test_the_strongest_within_the_error_is_chosen():
    table = (StrengthTried(10.0, 0.5, 0.1), StrengthTried(1.0, 0.3, 0.1), StrengthTried(0.1, 0.25, 0.06))
    assert choose_strength(table, 0.0) == 1.0
    assert choose_strength(table, 0.04) == 1.0
    assert choose_strength(table, 0.25) == 10.0
    assert choose_strength((table[0], table[1], StrengthTried(0.1, 0.2, 0.01)), 0.0) == 0.1


@given(st.lists(st.integers(0, 3), max_size=50), st.integers(2, 10), st.integers(0, 99))
def test_folds_spread_every_class_evenly(labels, count, seed):
    labels = np.array(labels + [0, 1, 2, 3] * count)
    assigned = Folding(seed).of_classes(labels, count)
    for label in range(4):
        sizes = np.bincount(assigned[labels == label], minlength=count)
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize(
    ("images", "classes", "least", "expected"),
    [
        (80, 2, 40, (10, 10)),
        (1000, 10, 50, (10, 10)),
        (1000, 10, 3, (3, 3)),
        (3068, 10, 100, (5, 5)),
        (1000, 50, 20, (5, 5)),
        (14400, 20, 700, (5, 5)),
        (5000, 100, 50, (5, 2)),
        (50000, 200, 250, (5, 1)),
        (2000, 1000, 2, (2, 1)),
    ],
)
def test_folds_are_fewer_where_they_would_take_long(images, classes, least, expected):
    labels = np.concatenate([np.repeat(np.arange(classes), least), np.zeros(images - classes * least, int)])
    assert penalised._fold_counts(labels, classes, Folding(0)) == expected


def test_a_class_of_one_image_is_named():
    with pytest.raises(DataError, match=r"class 2: 1 training image\(s\), expected at least 2"):
        fit_penalised_head(np.eye(5, dtype=np.float32), np.array([0, 0, 1, 1, 2]), LinearHead.zero(3, 5), Folding(0))
    with pytest.raises(DataError, match=r"class 2: 0 training image"):
        fit_penalised_head(np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1]), LinearHead.zero(3, 4), Folding(0))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(value):
    features, labels = clouds()
    features[7, 3] = value
    with pytest.raises(DataError, match="found NaN or infinity"):
        fit_penalised_head(features, labels, LinearHead.zero(3, 40), Folding(0))


def test_shapes_and_ranges_are_checked():
    with pytest.raises(ValueError, match=r"weight \(2, 3\) and bias \(3,\)"):
        LinearHead(np.zeros((2, 3)), np.zeros(3))
    with pytest.raises(ValueError, match=r"label smoothing 1\.0"):
        Loss(label_smoothing=1.0)
    with pytest.raises(ValueError, match=r"class weight 0\.0"):
        Loss(class_weights=np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"image weight -1\.0"):
        Loss(image_weights=np.array([1.0, -1.0]))


def test_features_that_are_zero_in_all_images_are_no_obstacle():
    rng = np.random.default_rng(0)
    features = np.zeros((1300, 1280), np.float32)  # as of digits at 32 px; torch's float32 eigenvalues do not converge
    features[:, rng.permutation(1280)[:280]] = np.maximum(rng.normal(size=(1300, 280)), 0)
    found = Coordinates.of(features, lambda: None)
    assert found.values.shape == (1300, 281)
    centred = features - features.mean(axis=0)
    columns = found.values[:, :-1].numpy() * found.scale
    np.testing.assert_allclose(columns @ columns.T, centred @ centred.T, atol=2e-3)
