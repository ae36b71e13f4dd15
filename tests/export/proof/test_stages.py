from collections.abc import Sequence

import numpy as np
import pytest

from tl_export.proof.stages import Answer, differences


def answer(stage: str, values: Sequence[float]) -> Answer:
    return Answer({stage: np.array(values, np.float32), "probabilities": np.array([0.5, 0.5], np.float32)}, "a")


@pytest.mark.parametrize(
    ("stage", "largest", "scale"),
    [("embedding", 0.01, 0.01), ("embedding", 8, 8), ("logits", 0.01, 1), ("logits", 8, 8), ("heatmap", 0.01, 1)],
)
def test_what_the_differences_are_relative_to(stage, largest, scale):
    gaps = differences(answer(stage, [largest, 0]), answer(stage, [largest, 1e-5]), ["a", "b"])
    assert gaps[stage] == pytest.approx(1e-5 / scale, rel=1e-5)


def test_nothing_is_the_same_as_nothing():
    zeros = answer("embedding", [0, 0])
    assert differences(zeros, zeros, ["a", "b"])["embedding"] == 0
