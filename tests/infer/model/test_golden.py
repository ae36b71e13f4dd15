"""tl_infer.model.golden: what is written is read again, and what is wrong is refused by name."""

import json

import pytest

from tl_infer.errors import ModelFileError
from tl_infer.model.golden import GoldenSample, GoldenSet

SET = GoldenSet(
    samples=(
        GoldenSample(name="a dog, \N{SNOWMAN}", png=b"\x89PNG", probabilities=(0.25, 0.75)),
        GoldenSample(name="a cat", png=b"\x89PNG2", probabilities=(1.0, 0.0)),
    ),
    tolerance=0.01,
)


def test_what_is_written_is_read_again() -> None:
    assert GoldenSet.from_json(SET.to_json(), 2) == SET


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "tl.golden: version: found 2, expected 1"),
        ({"tolerance": "wide"}, "tl.golden: tolerance: found 'wide', expected a number"),
        ({"tolerance": 0}, "tolerance: found 0"),
        ({"samples": []}, "samples: found 0"),
        (
            {"samples": [{"name": "x", "png": "?", "probabilities": [0, 1]}]},
            r"png: found '\?', expected base64",
        ),
        ({"samples": [{"name": "x", "png": "", "probabilities": [0, 1]}]}, r"samples\[0\].png: found 0 bytes"),
        ({"samples": [{"name": "x", "png": "aaaa", "probabilities": [0.5, 2]}]}, "probabilities: found"),
        ({"samples": [{"name": "x", "png": "aaaa", "probabilities": [1]}]}, "'x' has 1 probabilities, the model 2"),
        ({"more": 1}, "tl.golden: 'more': unknown field, expected one of samples, tolerance; update tl-toolkit"),
    ],
)
def test_what_is_wrong_is_refused(change: dict[str, object], message: str) -> None:
    document = {**json.loads(SET.to_json()), **change}
    with pytest.raises(ModelFileError, match=message):
        GoldenSet.from_json(json.dumps(document), 2)
