"""tl_infer.model.golden: what is written is read again, and what is wrong is refused by name."""

import dataclasses
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
        ({"version": 3}, "tl.golden: version: found 3, expected 1 or 2"),
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


FAMILIAR = GoldenSet(
    samples=tuple(dataclasses.replace(sample, familiarity=0.5) for sample in SET.samples),
    tolerance=0.01,
    familiarity_tolerance=0.02,
)


def test_the_version_is_the_lowest_that_has_room_for_the_samples() -> None:
    assert json.loads(SET.to_json()).keys() == {"version", "samples", "tolerance"}
    assert json.loads(SET.to_json())["version"] == 1
    assert json.loads(FAMILIAR.to_json())["version"] == 2
    assert GoldenSet.from_json(FAMILIAR.to_json(), 2, with_familiarity=True) == FAMILIAR


def test_samples_and_model_agree_on_whether_there_is_a_familiarity() -> None:
    with pytest.raises(ModelFileError, match=r"tl\.golden: the samples and the model differ in whether there is"):
        GoldenSet.from_json(SET.to_json(), 2, with_familiarity=True)
    with pytest.raises(ModelFileError, match=r"tl\.golden: the samples and the model differ in whether there is"):
        GoldenSet.from_json(FAMILIAR.to_json(), 2)
    with pytest.raises(ValueError, match="familiarity_tolerance: expected one where all samples have a familiarity"):
        dataclasses.replace(FAMILIAR, familiarity_tolerance=None)
    with pytest.raises(ValueError, match=r"familiarity: found 1\.5, expected 0 to 1"):
        dataclasses.replace(FAMILIAR.samples[0], familiarity=1.5)
