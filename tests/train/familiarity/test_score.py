"""tl_train.familiarity.score: the formula, against another implementation of its parts and a naive one of the whole."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_ood.detector.energy import EnergyBased
from pytorch_ood.detector.knn import KNN

from tl_train.errors import RunError
from tl_train.familiarity.score import Familiarity, Scale, cosines, energies, familiarity_of, nearest, unit

RANDOM = np.random.default_rng(0)
BANK = RANDOM.normal(size=(30, 8)).astype(np.float32)
FAMILIARITY = Familiarity(
    bank=unit(BANK).astype(np.float16),
    neighbours=3,
    similarity=Scale(0.5, 0.1),
    energy=Scale(2.0, 0.7),
    weight=2.0,
    quantiles=np.array([-4, -1, 0, 0.5, 3], np.float32),
    images=123,
)


def test_the_energy_is_that_of_pytorch_ood():
    logits = RANDOM.normal(size=(20, 5)).astype(np.float32) * 10
    theirs = EnergyBased.score(torch.from_numpy(logits).double()).numpy()
    np.testing.assert_allclose(energies(logits), -theirs, rtol=1e-6)


@pytest.mark.parametrize("neighbours", [1, 3, 30])
def test_the_neighbour_is_that_of_pytorch_ood(neighbours):
    """Of vectors of length 1 the squared distance is 2 - 2 cosine."""
    embeddings = RANDOM.normal(size=(20, 8)).astype(np.float32)
    knn = KNN(None, k=neighbours).fit_features(torch.from_numpy(BANK), torch.zeros(len(BANK), dtype=torch.long))
    distance = knn.predict_features(torch.from_numpy(embeddings)).numpy()
    ours = nearest(cosines(embeddings, unit(BANK).astype(np.float16)), neighbours)
    np.testing.assert_allclose(ours, 1 - distance**2 / 2, atol=2e-3)  # the bank is in float16


def naive(embedding: list[float], logits: list[float]) -> float:
    """The whole formula for one image, without numpy's help."""
    length = math.sqrt(math.fsum(value * value for value in embedding))
    similar = sorted(
        (math.fsum(float(a) * b / length for a, b in zip(row, embedding, strict=True)) for row in FAMILIARITY.bank),
        reverse=True,
    )
    energy = math.log(math.fsum(map(math.exp, logits)))
    score = (energy - 2.0) / 0.7 + 2.0 * min((similar[2] - 0.5) / 0.1 + 1, 0)
    table = FAMILIARITY.quantiles.tolist()
    parts = [min(max((score - low) / (high - low), 0), 1) for low, high in itertools.pairwise(table)]
    return math.fsum(parts) / len(parts)


def test_the_whole_is_what_the_formula_says():
    embeddings, logits = RANDOM.normal(size=(50, 8)), RANDOM.normal(size=(50, 4)) * 2
    found = FAMILIARITY(embeddings, logits)
    expected = [naive(*row) for row in zip(embeddings.tolist(), logits.tolist(), strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.mean((found > 0) & (found < 1)) > 0, "some are between the ends"


def test_an_embedding_of_zeros_is_like_none():
    (found,) = FAMILIARITY(np.zeros((1, 8)), np.zeros((1, 4)))
    assert found == 0


@given(st.floats(-10, 10), st.floats(0, 5))
def test_more_is_never_less_familiar(score, more):
    low, high = familiarity_of(np.array([score, score + more]), FAMILIARITY.quantiles)
    assert 0 <= low <= high <= 1


def test_it_is_read_back_as_it_was_written():
    back = Familiarity.from_bytes(FAMILIARITY.to_bytes())
    for field in dataclasses.fields(Familiarity):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(FAMILIARITY, field.name))
    assert back.bank.dtype == np.float16
    for damaged in (b"", FAMILIARITY.to_bytes()[:50]):
        with pytest.raises(RunError, match="not the familiarity that tl-train writes"):
            Familiarity.from_bytes(damaged)
