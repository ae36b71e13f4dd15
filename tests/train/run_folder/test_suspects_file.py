"""suspects.csv of a run, and the run that takes it back."""

import csv
import json
import re
import shutil

import pytest

from tl_train import TrainConfig, train
from tl_train.errors import RunError

FIELDS = {"arch": "timm:test_efficientnet", "weights": "none", "size": 64, "prior": "none", "mode": "head"}


@pytest.fixture(scope="module")
def data(shapes, tmp_path_factory):
    """Drawn shapes, one of them also in another class and one a copy of a test image."""
    root = tmp_path_factory.mktemp("labels") / "shapes"
    for part, numbers in (("train", range(2, 10)), ("test", range(2))):
        for shape in ("circle", "cross", "square"):
            (root / part / shape).mkdir(parents=True)
            for number in numbers:
                shutil.copy(shapes / shape / f"{shape}{number}.png", root / part / shape)
    shutil.copy(shapes / "circle" / "circle2.png", root / "train" / "square" / "copy.png")
    shutil.copy(shapes / "cross" / "cross0.png", root / "train" / "cross" / "leak.png")
    return root


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "first"
    return train(TrainConfig.of(str(data), **FIELDS), out)


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_list_has_suspects_then_copies(run, data):
    rows = read(run.out / "suspects.csv")
    errors = run.label_errors
    assert errors.suspects, "a random network is wrong about some"
    suspected = rows[: len(errors.suspects)]
    assert [row["label"] for row in suspected] == [run.labels[suspect.label] for suspect in errors.suspects]
    assert [row["suggested"] for row in suspected] == [run.labels[suspect.suggested] for suspect in errors.suspects]
    probabilities = [float(row["probability"]) for row in suspected]
    assert probabilities == sorted(probabilities)
    by_name = {row["path"].rsplit("/", 1)[-1]: row for row in rows}
    assert by_name["copy.png"]["duplicate_of"].endswith("circle2.png (train, circle)")
    assert by_name["leak.png"]["duplicate_of"].endswith("cross0.png (test, cross)")
    assert all(row["path"].startswith(str(data / "train")) and row["action"] == "" for row in rows)


def test_the_report_shows_them(run, data):
    text = (run.out / "report.html").read_text()
    assert "Labels to check" in text
    assert f"For {len(run.label_errors.suspects)} of the 26 training images" in text
    assert re.search(r"\d+ group\(s\) of images that show the same", text)
    for name in ("train/square/copy.png", "train/circle/circle2.png"):
        assert f'title="{data / name}"' in text, "a copy in another class stands beside what it is of"
    facts = json.loads((run.out / "metrics.json").read_text())["run"]
    assert facts["suspects"] == len(run.label_errors.suspects)


def test_an_edited_list_comes_back_and_is_recorded(run, data, tmp_path):
    rows = read(run.out / "suspects.csv")
    for row in rows:
        row["action"] = "drop" if row["path"].endswith(("copy.png", "leak.png")) else ""
    kept = next(row for row in rows if not row["action"] and row["suggested"])
    kept["action"] = "keep"
    edited = tmp_path / "edited.csv"
    with edited.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    second = train(TrainConfig.of(str(data), fix=str(edited), **FIELDS), tmp_path / "second")
    assert second.label_errors.images == run.label_errors.images - 2
    facts = json.loads((second.out / "metrics.json").read_text())["run"]
    assert facts["label_fixes"] == "0 relabelled, 2 dropped, 1 kept; see fixes.csv"
    decided = {row["path"]: row["action"] for row in rows if row["action"]}
    assert {row["path"]: row["action"] for row in read(second.out / "fixes.csv")} == decided
    again = read(second.out / "suspects.csv")
    assert {row["path"]: row["action"] for row in again if row["action"]} == decided, "one file holds all decisions"
    assert [row["path"] for row in again].count(kept["path"]) == 1, "what was kept is not asked for again"
    third = train(TrainConfig.of(str(data), fix=str(second.out / "suspects.csv"), **FIELDS), tmp_path / "third")
    assert third.label_errors == second.label_errors


def test_a_run_does_not_replace_the_list_that_it_takes(run, data):
    config = TrainConfig.of(str(data), fix=str(run.out / "suspects.csv"), **FIELDS)
    with pytest.raises(RunError, match=r"suspects.csv: lies in .*first, which the run would replace; choose another"):
        train(config, run.out, overwrite=True)
    assert (run.out / "suspects.csv").is_file()


def test_a_head_trained_by_steps_has_no_suspects_and_says_so(tiny_run):
    assert "Suspects were not looked for" in (tiny_run / "report.html").read_text()
    assert json.loads((tiny_run / "metrics.json").read_text())["run"]["suspects"] == "not looked for"
    assert not any(row["suggested"] for row in read(tiny_run / "suspects.csv")), "nothing but copies across parts"
