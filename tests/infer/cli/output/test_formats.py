import csv
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_infer import Classification, ImageError, Score
from tl_infer.cli.output.formats import Columns, row_formatter
from tl_infer.cli.output.rows import make_row
from tl_infer.text.safetext import json_line, plain_text, printable, spreadsheet_path, spreadsheet_text

LABELS = ("dog", '=a "cat",\nold')
TOP = (Score("dog", 0.75), Score(LABELS[1], 0.25))
GOOD = Classification(TOP, ms=1.234)
UNSURE = Classification(TOP, abstained=True)
BAD = ImageError("b.txt", "not an image")
ODD = os.fsdecode(b"odd\xff\x1b.png")


def written(suffix: str, top_k: int | None) -> str:
    header, line = row_formatter(Path(f"r{suffix}"), Columns(LABELS, top_k))
    rows = (("=a.png", GOOD), ("b.txt", BAD), (ODD, UNSURE))
    return header + "".join(line(make_row(path, result)) for path, result in rows)


def test_csv_has_a_line_per_picture():
    rows = list(csv.DictReader(written(".csv", 2).splitlines()))
    scores = {"label_1": "dog", "probability_1": "0.75", "label_2": r"""'=a "cat",\nold""", "probability_2": "0.25"}
    assert rows[0] == {
        "path": "./=a.png", "label": "dog", "probability": "0.75", **scores, "abstained": "false", "error": "",
        "ms": "1.23",
    }  # fmt: skip
    assert {name: cell for name, cell in rows[1].items() if cell} == {
        "path": "b.txt", "abstained": "false", "error": "not an image",
    }  # fmt: skip
    assert rows[2]["path"] == r"odd\udcff\x1b.png"
    assert (rows[2]["label"], rows[2]["abstained"], rows[2]["probability"]) == ("", "true", "0.75")
    assert rows[2]["label_1"] == "dog"


def test_all_probabilities_have_a_column_per_class():
    rows = list(csv.reader(written(".csv", None).splitlines()))
    assert rows[0][3:5] == ["p(dog)", r'p(=a "cat",\nold)']
    assert [row[3:5] for row in rows[1:]] == [["0.75", "0.25"], ["", ""], ["0.75", "0.25"]]


def test_jsonl_gives_back_what_went_in():
    rows = [json.loads(line) for line in written(".jsonl", 2).splitlines()]
    top = [{"label": "dog", "probability": 0.75}, {"label": LABELS[1], "probability": 0.25}]
    assert rows[0] == {
        "path": "=a.png", "label": "dog", "probability": 0.75, "top": top, "abstained": False, "error": None,
        "ms": 1.23,
    }  # fmt: skip
    assert rows[1]["label"] is rows[1]["probability"] is None
    assert (rows[2]["path"], rows[2]["label"], rows[2]["abstained"], rows[2]["top"]) == (ODD, None, True, top)


def test_another_suffix_is_refused():
    with pytest.raises(ValueError, match=r"found suffix '.xlsx', expected .csv or .jsonl"):
        row_formatter(Path("r.xlsx"), Columns(LABELS))


@given(st.text(alphabet=st.sampled_from("=+-@'; \t\r\n\uff1da1\u3000")) | st.text())
def test_no_cell_is_a_formula_and_all_can_be_read_back(text):
    cell = spreadsheet_text(text)
    assert plain_text(cell) == text
    for part in cell.split(";"):
        assert not part.lstrip(" \u3000").startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))
    assert not spreadsheet_path(text).lstrip(" \u3000").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@given(st.text(alphabet=st.characters()))
def test_what_is_written_is_one_line_of_utf8_without_control_characters(text):
    for line in (printable(text), json_line({"path": text})[:-1]):
        line.encode()
        assert not any(ord(char) < 32 or 127 <= ord(char) < 160 or char in "\u2028\u202e" for char in line)
    assert json.loads(json_line({"path": text})) == {"path": text}


def test_names_of_all_languages_are_left_alone():
    for name in ("写真\u30001.jpg", "a\u202f3.png", "\u0646\u200c\u0641.png", "é - 5%.png"):
        assert printable(name) == name
