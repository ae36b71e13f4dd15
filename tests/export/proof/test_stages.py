from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tl_export.proof.decisions import TopLabel
from tl_export.proof.stages import Answer, differences, first_failure, relative_to_all, summarise

DECISION = TopLabel(("a", "b"))


def answer(stage: str, values: Sequence[float]) -> Answer:
    return Answer({stage: np.array(values, np.float32), "probabilities": np.array([0.5, 0.5], np.float32)}, ("a",))


@pytest.mark.parametrize(
    ("stage", "largest", "scale"),
    [("embedding", 0.01, 1), ("embedding", 8, 1), ("logits", 0.01, 1), ("logits", 8, 8), ("heatmap", 0.01, 1)],
)
def test_what_the_differences_are_relative_to(stage, largest, scale):
    gaps = differences(answer(stage, [largest, 0]), answer(stage, [largest, 1e-5]), DECISION)
    assert gaps[stage] == pytest.approx(1e-5 / scale, rel=1e-5)


def test_embeddings_are_relative_to_the_largest_of_all_images():
    gaps = [differences(answer("embedding", [0, 0]), answer("embedding", [gap, 0]), DECISION) for gap in (1e-4, 4e-4)]
    measured = [(Path(str(number)), of_image) for number, of_image in enumerate(gaps)]
    relative_to_all(measured, 4.0)
    assert [of_image["embedding"] for _, of_image in measured] == pytest.approx([0.25e-4, 1e-4])
    relative_to_all(measured, 0.0)  # nothing to compare with
    assert measured[1][1]["embedding"] == pytest.approx(1e-4)


@pytest.mark.parametrize("order", [(0.0, float("nan")), (float("nan"), 0.0)])
def test_a_value_that_is_no_number_fails_whichever_image_has_it(order):
    measured = [(Path(str(gap)), {"logits": gap, "label": 0.0}) for gap in order]
    failure = first_failure(summarise(measured))
    assert failure is not None
    assert (failure.stage, str(failure.worst)) == ("logits", "nan")
