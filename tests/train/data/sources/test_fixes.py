"""tl_train.data.sources.fixes: what was decided about labels comes back, or one line says why not."""

import csv
import dataclasses
import shutil
import unicodedata

import pytest

from support.loading import load
from tl_train.errors import DataError

HEADER = ("path", "label", "suggested", "margin", "action")


def write_list(path, *rows, header=HEADER, delimiter=",", encoding="utf-8"):
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return path


def labels_by_file(dataset):
    return {
        sample.path.name: dataset.labels[sample.label]
        for sample in (*dataset.train, *dataset.val, *dataset.test)
    }  # fmt: skip


@pytest.fixture
def decided(shapes, tmp_path):
    """One image relabelled, one dropped, one kept, one undecided."""
    return write_list(
        tmp_path / "suspects.csv",
        (shapes / "circle" / "circle0.png", "circle", "cross", 0.5, "Relabel "),
        (shapes / "circle" / "circle1.png", "circle", "cross", 0.4, "drop"),
        (shapes / "cross" / "cross2.png", "cross", "square", 0.3, "keep"),
        (shapes / "square" / "square3.png", "square", "cross", 0.2, ""),
    )


def test_decisions_change_labels_and_leave_images_out(shapes, decided):
    before, after = load(shapes), load(shapes, fix=str(decided))
    expected = labels_by_file(before) | {"circle0.png": "cross"}
    del expected["circle1.png"]
    assert labels_by_file(after) == expected
    assert [(fix.action, fix.label, fix.new_label) for fix in after.fixes] == [
        ("relabel", 0, 1), ("drop", 0, 0), ("keep", 1, 1)
    ]  # fmt: skip
    assert len(list(shapes.rglob("*.png"))) == 30, "the images stay"


def test_the_same_images_are_held_out_with_decisions_and_without(shapes, decided):
    before, after = load(shapes), load(shapes, fix=str(decided))
    for part in ("train", "val", "test"):
        names = {sample.name for sample in before.part(part)} - {str(shapes / "circle" / "circle1.png")}
        assert {sample.name for sample in after.part(part)} == names


def test_a_csv_list_and_images_without_files_take_decisions(shapes, tmp_path):
    rows = [(shapes / name / f"{name}{i}.png", name) for name in ("circle", "cross") for i in range(8)]
    data = write_list(tmp_path / "data.csv", *rows, header=("path", "label"))
    fix = write_list(tmp_path / "s.csv", (rows[0][0], "circle", "cross", "", "relabel"))
    assert labels_by_file(load(data, fix=str(fix)))["circle0.png"] == "cross"
    digits = load("digits")
    first = digits.train[0]
    label, other = digits.labels[first.label], digits.labels[first.label - 1]
    fix = write_list(tmp_path / "d.csv", (first.name, label, other, "", "relabel"))
    fixed = load("digits", fix=str(fix)).train[0]
    assert (fixed.name, digits.labels[fixed.label]) == (first.name, other)


def test_what_a_spreadsheet_makes_of_the_list_is_read(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(shapes.parent)
    relative = f"{shapes.name}/circle/circle0.png"
    for name, delimiter, encoding in (("a", ";", "utf-8-sig"), ("b", "\t", "utf-8")):
        fix = write_list(tmp_path / name, (relative, "circle", "square", "0,5", "RELABEL"),
                         delimiter=delimiter, encoding=encoding)  # fmt: skip
        assert labels_by_file(load(shapes, fix=str(fix)))["circle0.png"] == "square"


def test_labels_that_a_spreadsheet_would_take_for_a_formula(tmp_path, shapes):
    rows = [(shapes / name / f"{name}{i}.png", f"={name}") for name in ("circle", "cross") for i in range(8)]
    data = write_list(tmp_path / "data.csv", *rows, header=("path", "label"))
    fix = write_list(tmp_path / "s.csv", (rows[0][0], "'=circle", "'=cross", "", "relabel"))
    assert labels_by_file(load(data, fix=str(fix)))["circle0.png"] == "=cross"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "/nowhere/x.png"}, r"row 2: '/nowhere/x.png' is not among the images; expected a path as"),
        ({"action": "delete"}, r"row 2: action is 'delete', expected keep, relabel or drop, or nothing"),
        ({"suggested": "crosss"}, r"row 2: unknown class 'crosss'; is it 'cross'\?; expected one of circle, cross, sq"),
        ({"suggested": " "}, r"row 2: relabel, but 'suggested' is empty; expected one of circle, cross, square"),
        ({"suggested": "circle"}, r"row 2: relabel to 'circle', the label that the image has; .* or the action keep"),
        ({"label": "cross"}, r"row 2: label is 'cross', but the image is labelled 'circle'; .* 'suggested' and relab"),
        ({"action": ""}, r"s.csv: no row has an action; write keep, relabel or drop into the column 'action'"),
    ],
)
def test_a_decision_that_cannot_be_meant_is_one_line(shapes, tmp_path, changes, message):
    row = {"path": shapes / "circle" / "circle0.png", "label": "circle", "suggested": "cross", "margin": 0.5,
           "action": "relabel", **changes}  # fmt: skip
    with pytest.raises(DataError, match=message) as caught:
        load(shapes, fix=str(write_list(tmp_path / "s.csv", tuple(row.values()))))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("stored", "listed"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_paths_and_classes_are_found_in_either_normal_form(shapes, tmp_path, stored, listed):
    shutil.copytree(shapes / "cross", tmp_path / "data" / "cross")
    folder = shutil.copytree(shapes / "circle", tmp_path / "data" / unicodedata.normalize(stored, "c\u00e9rcle"))
    path, label = (unicodedata.normalize(listed, str(text)) for text in (folder / "circle0.png", folder.name))
    fixed = load(tmp_path / "data", fix=str(write_list(tmp_path / "s.csv", (path, label, "cross", 0.5, "relabel"))))
    assert labels_by_file(fixed)["circle0.png"] == "cross"


def test_a_list_that_cannot_be_meant_is_one_line(shapes, tmp_path):
    row = (shapes / "circle" / "circle0.png", "circle", "cross", 0.5, "drop")
    with pytest.raises(DataError, match=r"row 3: '.*circle0.png' is listed in row 2 already; decide once"):
        load(shapes, fix=str(write_list(tmp_path / "twice.csv", row, row)))
    with pytest.raises(DataError, match=r"row 1: column 'action' is missing; expected path, label, suggested, action"):
        load(shapes, fix=str(write_list(tmp_path / "no.csv", row[:4], header=HEADER[:4])))
    with pytest.raises(DataError, match=r"row 1: column 'label' is twice"):
        load(shapes, fix=str(write_list(tmp_path / "two.csv", (*row, "x"), header=(*HEADER, "label"))))
    with pytest.raises(DataError, match=r"row 2: 4 cells, expected 5 as in the first row"):
        load(shapes, fix=str(write_list(tmp_path / "short.csv", row[:4])))
    with pytest.raises(DataError, match=r"nowhere.csv: cannot be read: No such file.*; expected an edited suspe"):
        load(shapes, fix=str(tmp_path / "nowhere.csv"))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match=r"empty.csv: row 1: column 'path' is missing"):
        load(shapes, fix=str(tmp_path / "empty.csv"))


def test_a_class_that_decisions_leave_empty_is_named(shapes, tmp_path):
    rows = [(path, "circle", "", "", "drop") for path in (shapes / "circle").iterdir()]
    with pytest.raises(DataError, match=r"class 'circle': no readable training image after the corrections of .*s.csv"):
        load(shapes, fix=str(write_list(tmp_path / "s.csv", *rows)))


def test_a_fingerprint_tells_decisions(shapes, decided):
    from tl_train.data.dataset import fingerprint

    before, after = load(shapes), load(shapes, fix=str(decided))
    relabelled = dataclasses.replace(before, train=[*before.train[1:], before.train[0]])
    assert len({fingerprint(before), fingerprint(after), fingerprint(relabelled)}) == 3
