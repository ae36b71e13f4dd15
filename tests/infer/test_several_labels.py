"""A model that gives several labels: its contract, its answers, rows, the table, the summary, what is refused."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from support import onnx_bytes
from tl_infer import Classifier, ModelFileError, ModelSpec
from tl_infer.cli.command import command
from tl_infer.model.answers import wrong_answer
from tl_infer.model.golden import GoldenSample, GoldenSet
from tl_infer.text.label_sets import joined, split

SEVERAL = onnx_bytes.color_model(onnx_bytes.several_spec((0.5, 0.9, 0.5)), several=True, extras=True)
SPEC = ModelSpec.from_json(onnx_bytes.several_spec())


def color(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((3, 3, 3), (red, green, blue), np.uint8)


def test_an_image_has_the_labels_from_their_thresholds_on() -> None:
    classifier = Classifier(SEVERAL)
    assert classifier.gives_several
    found = classifier.classify(color(255, 0, 204))
    assert found.labels == ("red", "blue")
    assert found.label == "red"
    assert not found.abstained
    assert [score.label for score in classifier.classify(color(255, 0, 204), top_k=None).top] == [
        "red",
        "blue",
        "green",
    ]
    assert classifier.classify(color(0, 0, 255)).probability == pytest.approx(1 / (1 + np.exp(-4)))
    assert classifier.classify(color(0, 160, 0)).labels == (), "0.74 is below the threshold of green"
    assert classifier.classify(color(0, 160, 0)).label is None
    assert classifier.classify(color(0, 255, 0)).labels == ("green",)


def test_one_threshold_can_take_the_place_of_all() -> None:
    classifier = Classifier(SEVERAL)
    assert classifier.classify(color(0, 160, 0), threshold=0.5).labels == ("green",)
    assert classifier.classify(color(255, 0, 204), threshold=0.95).labels == ("red",)
    assert classifier.classify(color(0, 0, 0), threshold=0).labels == ("red", "green", "blue")
    (many,) = classifier.classify_many([color(0, 160, 0)], threshold=0.5)
    (batch,) = classifier.classify_batch(color(0, 160, 0)[np.newaxis], threshold=0.5)
    assert many == batch == classifier.classify(color(0, 160, 0), threshold=0.5)
    assert many != classifier.classify(color(0, 160, 0)), "other labels"


def test_each_label_has_its_heatmap() -> None:
    classifier = Classifier(SEVERAL)
    pixels = color(10, 0, 20)
    assert (classifier.heatmap(pixels, "red") == 10).all()
    assert (classifier.heatmap(pixels) == 20).all(), "the most probable one's"
    found = classifier.classify(color(255, 0, 204), heatmap=True)
    assert list(found.heatmaps) == ["red", "blue"]
    assert [int(found.heatmaps[label].max()) for label in found.labels] == [255, 204]
    assert (found.heatmap == 255).all()
    assert classifier.classify(color(0, 0, 0), heatmap=True).heatmaps == {}
    assert classifier.classify(color(255, 0, 204)).heatmaps is None
    assert Classifier(onnx_bytes.color_model(extras=True)).classify(pixels, heatmap=True).heatmaps is None


def test_a_model_of_one_label_has_it_as_its_labels() -> None:
    single = Classifier(onnx_bytes.color_model(onnx_bytes.abstaining_spec(0.9)))
    assert not single.gives_several
    assert single.classify(color(255, 0, 0)).labels == ("red",)
    assert single.classify(color(100, 99, 99)).labels == ()


def test_the_spec_is_of_version_2_and_of_version_1_without_it() -> None:
    document = json.loads(onnx_bytes.several_spec())
    assert (document["version"], document["task"], document["thresholds"]) == (2, "multi", [0.5] * 3)
    assert ModelSpec.from_json(json.dumps(document)) == SPEC
    single = json.loads(onnx_bytes.SPEC.to_json())
    assert single["version"] == 1
    assert not {"task", "thresholds", "temperatures"} & single.keys()
    assert ModelSpec.from_json(json.dumps({**single, "version": 2, "task": "single"})) == onnx_bytes.SPEC


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 1}, "'task': unknown field"),
        ({"task": "several"}, "task: found 'several', expected single or multi"),
        ({"thresholds": [0.5, 0.5]}, r"thresholds: found \(0.5, 0.5\), expected 3 values, one per label"),
        ({"thresholds": [0.5, 0.5, 1.5]}, r"thresholds: .*, expected values of 0 to 1"),
        ({"temperatures": [1, 1, 0]}, r"temperatures: .*, expected finite numbers above zero"),
        ({"temperatures": None}, "temperatures: found None, expected 3 values"),
        ({"temperature": 2}, "temperature: found 2.0, expected 1 with task multi"),
        ({"abstain_below": 0.5}, "abstain_below: found 0.5, expected null with task multi"),
        ({"task": "single"}, "thresholds: .*, expected nothing with task single"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(changes, message) -> None:
    document = {**json.loads(onnx_bytes.several_spec()), **changes}
    with pytest.raises(ModelFileError, match=message):
        ModelSpec.from_json(json.dumps(document))


def test_probabilities_need_not_sum_to_1_but_must_be_probabilities() -> None:
    assert wrong_answer("probabilities", np.array([[0.9, 0.9]], np.float32), 1, 2, "multi") is None
    assert "sum to 1" in wrong_answer("probabilities", np.array([[0.9, 0.9]], np.float32), 1, 2)
    assert wrong_answer("probabilities", np.array([[1.2, 0.0]], np.float32), 1, 2, "multi") == (
        "does not hold probabilities, 0 to 1"
    )
    softmax = onnx_bytes.color_model(onnx_bytes.SPEC.to_json(), several=True)
    with pytest.raises(ModelFileError, match="does not hold probabilities that sum to 1"):
        Classifier(softmax)


def test_golden_samples_say_what_they_are_of() -> None:
    sample = GoldenSample(name="a", png=b"\x89PNG", probabilities=(0.9, 0.8, 0.1))
    golden = GoldenSet(samples=(sample,), tolerance=0.01, task="multi")
    assert json.loads(golden.to_json())["version"] == 2
    assert GoldenSet.from_json(golden.to_json(), 3, task="multi") == golden
    with pytest.raises(ModelFileError, match="task: found multi, the model has single"):
        GoldenSet.from_json(golden.to_json(), 3)
    with pytest.raises(ValueError, match=r"samples\[0\].probabilities: .*summing to 1"):
        GoldenSet(samples=(sample,), tolerance=0.01)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(SEVERAL)
    return tmp_path / "model.onnx"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, pixel in enumerate([(255, 0, 204), (0, 255, 0), (0, 0, 0)]):
        Image.new("RGB", (4, 4), pixel).save(folder / f"{number}.png")
    (folder / "3.png").write_text("no image")
    return folder


def infer(*arguments: object, code: int = 0):
    done = CliRunner().invoke(command, list(map(str, arguments)))
    assert done.exit_code == code, done.output
    return done


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_has_one_column_of_labels_and_with_all_one_for_each(model, images, tmp_path) -> None:
    infer(model, images, "--out", tmp_path / "one.csv")
    rows = rows_of(tmp_path / "one.csv")
    assert list(rows[0]) == ["path", "labels", "probability", "error", "ms"]
    assert [row["labels"] for row in rows] == ["red|blue", "green", "", ""]
    assert rows[3]["error"].startswith("not an image")
    infer(model, images, "--out", tmp_path / "all.csv", "--top-k", "all")
    rows = rows_of(tmp_path / "all.csv")
    assert list(rows[0]) == ["path", "labels", "probability", "p(red)", "p(green)", "p(blue)", "error", "ms"]
    assert [float(rows[0][f"p({name})"]) > 0.5 for name in ("red", "green", "blue")] == [True, False, True]
    infer(model, images, "--out", tmp_path / "two.csv", "--top-k", "2")
    assert rows_of(tmp_path / "two.csv")[0]["label_2"] == "blue"


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_each_label_of_an_image_is_drawn_in_a_file_of_its_own(model, images, tmp_path, name) -> None:
    out, maps = tmp_path / name, tmp_path / "maps"
    infer(model, images, "--out", out, "--heatmaps", maps)
    drawn = [["0-red-heatmap.jpg", "0-blue-heatmap.jpg"], ["1-green-heatmap.jpg"], [], []]
    if name == "r.csv":
        found = [split(row["heatmaps"]) for row in rows_of(out)]
    else:
        found = [json.loads(line)["heatmaps"] for line in out.read_text().splitlines()]
    assert [[Path(path).name for path in paths] for paths in found] == drawn
    assert sorted(path.name for path in maps.iterdir()) == sorted(file for files in drawn for file in files)
    strongest = [tuple(Image.open(maps / f"0-{label}-heatmap.jpg").getpixel((1, 1))) for label in ("red", "blue")]
    assert strongest[0] == pytest.approx(strongest[1], abs=3), "all of the picture speaks for both"


def test_a_label_that_is_no_file_name_has_a_safe_one(tmp_path, images) -> None:
    spec = dataclasses.replace(SPEC, labels=("a/b", "..", "blue"))
    (tmp_path / "model.onnx").write_bytes(onnx_bytes.color_model(spec.to_json(), several=True, extras=True))
    infer(tmp_path / "model.onnx", images / "0.png", images / "1.png", "--heatmaps", tmp_path / "maps")
    names = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert names == ["0-a%2Fb-heatmap.jpg", "0-blue-heatmap.jpg", "1-%2E%2E-heatmap.jpg"]


def test_jsonl_has_a_list_of_labels(model, images, tmp_path) -> None:
    infer(model, images, "--out", tmp_path / "r.jsonl", "--top-k", "all")
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [row["labels"] for row in rows] == [["red", "blue"], ["green"], [], []]
    assert [score["label"] for score in rows[0]["top"]] == ["red", "blue", "green"]
    assert list(rows[0]) == ["path", "labels", "probability", "top", "error", "ms"]


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_rows_of_before_are_continued_and_counted(model, images, tmp_path, name) -> None:
    out = tmp_path / name
    infer(model, images, "--out", out)
    before = out.read_text()
    Image.new("RGB", (4, 4), (0, 0, 255)).save(images / "4.png")
    done = infer(model, images, "--out", out, "--resume")
    assert out.read_text().startswith(before)
    assert "5 of 5 files, 4 from before, 1 error" in done.stderr
    counted = {line.split()[0]: line.split()[1] for line in done.stderr.splitlines() if line.startswith("  ")}
    assert counted == {"blue": "2", "red": "1", "green": "1", "(none)": "1", "(error)": "1"}


def test_lines_in_a_pipe_name_all_labels(model, images) -> None:
    done = infer(model, images, "--top-k", "2")
    cells = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[1] for row in cells] == ["red|blue", "green", "(none)", "(error)"]
    assert cells[0][3] == "red"
    assert cells[0][5] == "blue"


def test_info_says_what_the_thresholds_are(model) -> None:
    lines = infer(model, "--info", code=0).stdout.splitlines()
    assert next(line for line in lines if line.startswith("thresholds")).endswith("red 0.5, green 0.9, blue 0.5")
    assert any(line.startswith("task") for line in lines)


def test_images_cannot_be_sorted_by_several_labels(model, images, tmp_path) -> None:
    done = infer(model, images, "--sort-into", tmp_path / "sorted", code=2)
    assert "--sort-into needs a model that gives one label" in done.stderr
    assert not (tmp_path / "sorted").exists()


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), max_size=5))
def test_joined_labels_come_apart_as_they_were(labels) -> None:
    assert split(joined(labels)) == tuple(labels)


def test_an_unfamiliar_image_has_no_labels() -> None:
    spec = dataclasses.replace(SPEC, familiarity=ModelSpec.from_json(onnx_bytes.familiar_spec(0.5)).familiarity)
    classifier = Classifier(onnx_bytes.color_model(spec.to_json(), several=True, familiarity="familiarity"))
    assert classifier.classify(color(255, 0, 0)).labels == ("red",)
    dark = classifier.classify(color(100, 0, 0), threshold=0.1)
    assert (dark.labels, dark.reason, dark.abstained) == ((), "unfamiliar", True)
