import csv
import json
import os
from pathlib import Path

import pytest

from tl_infer import Classification, ImageError, Score
from tl_infer.writers import result_writer

GOOD = Classification((Score("dog", 0.75), Score('a "cat",\nold', 0.25)))
BAD = ImageError("b.txt", "not a picture")


def written(path: Path, top_k: int = 2) -> Path:
    with result_writer(path, top_k) as write:
        write(Path("a.png"), GOOD)
        write(Path("b.txt"), BAD)
        write(Path(os.fsdecode(b"odd\xff.png")), GOOD)
        write(Path("a\rb\n.png"), GOOD)
    return path


def test_csv_has_a_row_per_picture(tmp_path):
    with written(tmp_path / "r.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "path": "a.png", "label": "dog", "probability": "0.75",
        "label_2": 'a "cat",\nold', "probability_2": "0.25", "error": "",
    }  # fmt: skip
    assert rows[1] == {
        "path": "b.txt", "label": "", "probability": "", "label_2": "", "probability_2": "", "error": "not a picture",
    }  # fmt: skip
    assert rows[2]["path"] == r"odd\udcff.png"
    assert rows[3]["path"] == "a\rb\n.png"


def test_jsonl_has_an_object_per_picture(tmp_path):
    rows = [json.loads(line) for line in written(tmp_path / "r.JSONL").read_text(encoding="utf-8").splitlines()]
    assert rows[0]["label"] == "dog"
    assert rows[0]["top"] == [{"label": "dog", "probability": 0.75}, {"label": 'a "cat",\nold', "probability": 0.25}]
    assert rows[1] == {"path": "b.txt", "label": None, "probability": None, "top": [], "error": "not a picture"}
    assert len(rows) == 4


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"found suffix '.xlsx', expected .csv or .jsonl"):
        result_writer(tmp_path / "r.xlsx", 1).__enter__()
    assert not list(tmp_path.iterdir())
