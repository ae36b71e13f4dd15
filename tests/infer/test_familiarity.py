"""A model that says how familiar images are: two reasons to abstain, in answers, rows, folders and the summary."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from support import onnx_bytes
from tl_infer import Classifier, ModelFileError, SelfTestError
from tl_infer.cli.command import command
from tl_infer.model.answers import wrong_answer

FAMILIAR = onnx_bytes.color_model(onnx_bytes.familiar_spec(0.5, below=0.9), familiarity="familiarity")


def grey_red(red: int, others: int = 0) -> np.ndarray:
    return np.full((3, 3, 3), (red, others, others), np.uint8)


def test_the_reason_for_abstaining_is_named() -> None:
    classifier = Classifier(FAMILIAR)
    assert classifier.has_familiarity
    known, unsure, unfamiliar = (
        classifier.classify(pixels) for pixels in (grey_red(255), grey_red(204, 190), grey_red(51))
    )
    assert (known.label, known.abstained, known.reason) == ("red", False, None)
    assert known.familiarity == pytest.approx(1)
    assert (unsure.label, unsure.abstained, unsure.reason) == (None, True, "unsure")
    assert (unfamiliar.label, unfamiliar.abstained, unfamiliar.reason) == (None, True, "unfamiliar")
    assert unfamiliar.familiarity == pytest.approx(0.2)
    assert unfamiliar.top[0].label == "red", "what it would have said stays to be seen"


def test_both_thresholds_can_be_set() -> None:
    classifier = Classifier(FAMILIAR)
    assert classifier.classify(grey_red(51), min_familiarity=0).reason == "unsure"
    assert classifier.classify(grey_red(51), min_familiarity=0, threshold=0).label == "red"
    assert classifier.classify(grey_red(204), min_familiarity=0.9).reason == "unfamiliar"
    (many,) = classifier.classify_many([grey_red(204)], min_familiarity=0.9)
    (batch,) = classifier.classify_batch(grey_red(204)[np.newaxis], min_familiarity=0.9)
    assert many == batch == classifier.classify(grey_red(204), min_familiarity=0.9)
    with pytest.raises(ValueError, match=r"min_familiarity: found 1\.5, expected 0 to 1"):
        classifier.classify(grey_red(204), min_familiarity=1.5)


def test_a_file_of_version_1_says_nothing_of_it() -> None:
    plain = Classifier(onnx_bytes.color_model(familiarity="familiarity"))
    assert not plain.has_familiarity
    assert plain.outputs == ("probabilities", "logits"), "a name that means nothing in version 1"
    assert plain.classify(grey_red(1)).familiarity is None
    assert plain.classify(grey_red(1), min_familiarity=0).label == "red"
    with pytest.raises(ModelFileError, match="does not tell how familiar an image is, so min_familiarity cannot"):
        plain.classify(grey_red(1), min_familiarity=0.1)


def test_a_file_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ModelFileError, match=r"output 'familiarity' is nothing \[\], expected float32 \[N\]"):
        Classifier(onnx_bytes.color_model(onnx_bytes.familiar_spec()))
    old = onnx_bytes.golden_set()
    with pytest.raises(ModelFileError, match=r"tl\.golden: the samples and the model differ in whether there is a fam"):
        Classifier(onnx_bytes.color_model(onnx_bytes.familiar_spec(), familiarity="familiarity", golden=old))


@pytest.mark.parametrize(
    ("values", "problem"),
    [([0.5], None), ([1.5], "shares"), ([-0.1], "shares"), ([[0.5]], "shape"), ([0.5] * 2, "shape")],
)
def test_what_is_no_share_is_refused(values: list[float], problem: str | None) -> None:
    found = wrong_answer("familiarity", np.array(values, np.float32), 1, None)
    assert (found is None) if problem is None else (found is not None and problem in found)


def test_the_self_test_looks_at_the_familiarity() -> None:
    golden = onnx_bytes.golden_set(familiarity=1.0)
    found = Classifier(
        onnx_bytes.color_model(onnx_bytes.familiar_spec(), familiarity="familiarity", golden=golden)
    ).self_test()
    assert found.max_familiarity_difference == pytest.approx(0, abs=1e-6)
    assert found.familiarity_tolerance == 1e-3
    wrong = onnx_bytes.color_model(
        onnx_bytes.familiar_spec(), familiarity="familiarity", golden=onnx_bytes.golden_set(familiarity=0.9)
    )
    with pytest.raises(
        SelfTestError, match=r"sample '#00ff00' differs by 0.1 in its familiarity, the tolerance is 0.001"
    ):
        Classifier(wrong).self_test()


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A model, and a folder with an image for each answer."""
    (tmp_path / "m.onnx").write_bytes(FAMILIAR)
    (tmp_path / "in").mkdir()
    for name, pixels in (("1", grey_red(255)), ("2", grey_red(204, 190)), ("3", grey_red(51))):
        Image.fromarray(pixels).save(tmp_path / "in" / f"{name}.png")
    return tmp_path


def run(*arguments: object) -> str:
    done = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_rows_folders_and_summary_say_the_reason(workplace: Path) -> None:
    out = workplace / "r.csv"
    told = run(workplace / "m.onnx", workplace / "in", "--out", out, "--sort-into", workplace / "sorted")
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["reason"] for row in rows] == ["", "unsure", "unfamiliar"]
    assert [float(row["familiarity"]) for row in rows] == pytest.approx([1, 0.8, 0.2], abs=1e-6)
    assert [Path(row["sorted_to"]).parent.name for row in rows] == ["red", "_unsure", "_unfamiliar"]
    assert "(unsure)" in told
    assert "(unfamiliar)" in told
    again = run(workplace / "m.onnx", workplace / "in", "--out", out, "--sort-into", workplace / "sorted", "--resume")
    assert "3 from before" in again
    assert "(unfamiliar)" in again
    settings = json.loads((workplace / "r.csv.run.json").read_text())
    assert settings["min-familiarity"] == 0.5


def test_json_lines_the_table_and_the_options(workplace: Path) -> None:
    out = workplace / "r.jsonl"
    run(workplace / "m.onnx", workplace / "in", "--out", out, "--min-familiarity", "0.1")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["reason"] for row in rows] == [None, "unsure", "unsure"]
    assert "(unfamiliar)" in run(workplace / "m.onnx", workplace / "in" / "3.png")
    assert "unfamiliar below 0.5, measured on 1000 held-back images" in run(workplace / "m.onnx", "--info")


def test_a_spec_of_version_2_survives_the_file() -> None:
    assert Classifier(FAMILIAR).spec == dataclasses.replace(
        onnx_bytes.SPEC, abstain_below=0.9, familiarity=Classifier(FAMILIAR).spec.familiarity
    )
