"""The files that once did harm, and a few changes of each corpus: always the same ones here, others in `make fuzz`."""

import random

import pytest

from fuzz.mutate import mutate
from fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_and_some_changes_of_it(name):
    target, rng = TARGETS[name], random.Random(0)
    corpus = target.corpus()
    for data in corpus:
        target.run(data)
    for _ in range(50):
        target.run(mutate(rng.choice(corpus), rng.choice(corpus), rng))
