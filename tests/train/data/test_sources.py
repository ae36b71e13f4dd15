import csv
import shutil

import pytest

from support.loading import Notes, load, load_with
from support.pictures import draw_shape
from tl_train.config import TrainConfig
from tl_train.errors import DataError


def draw(folder, shape, count, first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        draw_shape(shape, number).save(folder / f"{number}.png")


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def test_parts_given_as_sub_folders_stay_as_they_are(tmp_path):
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        for shape in ("circle", "cross"):
            draw(tmp_path / part / shape, shape, count)
    dataset = load(tmp_path)
    assert dataset.labels == ("circle", "cross")
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (8, 4, 6)
    assert all("/val/" in sample.name for sample in dataset.val)
    shutil.rmtree(tmp_path / "val")
    dataset = load(tmp_path, val_split=0.25)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (6, 2, 6)
    shutil.rmtree(tmp_path / "test" / "cross")
    assert {sample.label for sample in load(tmp_path).test} == {0}, "a part may lack a class"
    draw(tmp_path / "test" / "cros", "cross", 2)
    with pytest.raises(DataError, match=r"cros: class 'cros' is not in .*train; expected the same names"):
        load(tmp_path)


def test_parts_that_could_mean_two_things_are_refused(tmp_path):
    for name in ("train", "bus"):
        draw(tmp_path / name, "circle", 4)
    assert load(tmp_path).labels == ("bus", "train"), "a class may be called train"
    draw(tmp_path / "test", "circle", 4)
    with pytest.raises(DataError, match=r"parts \(train, test\) beside other folders \(bus\)"):
        load(tmp_path)
    shutil.rmtree(tmp_path / "train")
    shutil.rmtree(tmp_path / "bus")
    with pytest.raises(DataError, match="test without train; expected a sub-folder train"):
        load(tmp_path)


def test_a_csv_with_labels_of_any_characters(tmp_path, shapes):
    labels = [' a,"b"\n', "é <&>"]
    rows = [(f"{shapes}/circle/circle{i}.png", labels[i % 2]) for i in range(8)]
    dataset = load(write_csv(tmp_path / "Data.CSV", [("path", "label"), *rows]))
    assert sorted(dataset.labels) == sorted(labels)
    truth = dict(rows)
    samples = [*dataset.train, *dataset.val, *dataset.test]
    assert {sample.name: dataset.labels[sample.label] for sample in samples} == truth
    assert (len(dataset.val), len(dataset.test)) == (2, 2)


def test_a_csv_with_parts_and_unused_columns(tmp_path):
    draw(tmp_path / "p", "circle", 8)
    parts = ["train", "train", "train", "train", "val", "val", "test", "test"]
    rows = [(part, i, f"p/{i}.png", "ab"[i % 2]) for i, part in enumerate(parts)]
    path = write_csv(tmp_path / "list.csv", [("split", "id", "path", "label"), *rows])
    notes = Notes()
    dataset = load_with(TrainConfig.of(str(path)), notes)
    assert [len(part) for part in (dataset.train, dataset.val, dataset.test)] == [4, 2, 2]
    assert notes.lines == [f"{path}: columns not used: id"]
    assert dataset.test[1].path == tmp_path / "p" / "7.png", "paths are relative to the list"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1: no column 'path'; found nothing"),
        ("file,label\n", "row 1: no column 'path'; found file, label, expected a header path,label"),
        ("path,label,label\n", "row 1: column 'label' is there 2 times"),
        ("path,label\n", "no training images; expected training images of two or more classes"),
        ("path,label\n0.png,a\n", r"one class only \('a'\)"),
        ("path,label\n0.png,a\n\n1.png\n", "row 4: 1 cells, expected 2"),
        ("path,label\n0.png, \n", "row 2: the label is empty"),
        ("path,label\n,a\n", "row 2: the path is empty"),
        ("path,label\n0.png,a\n9.png,b\n", "row 3: .*9.png: no such file"),
        ("path,label\n.,a\n", "row 2: .*: a folder; expected an image"),
        ("path,label\na\0b,a\n", "row 2: .*(no such file|not a usable path|not CSV)"),
        (f"path,label\n{'x' * 300},a\n", "row 2: .*(no such file|not a usable path)"),
        ("path,label\n0.png,a\n0.png,b\n", "row 3: .*0.png' is listed in row 2 already"),
        ("path,label,split\n0.png,a,dev\n", "row 2: split is 'dev', expected train, val or test"),
        ("path,label,split\n0.png,a,train\n1.png,b,train\n2.png,c,test\n", "row 4: class 'c' has no training images"),
        ("path,label,split,group\n0.png,a,train,g\n1.png,b,test,g\n", "group 'g' is in test, but in train in row 2"),
        ('path,label\n0.png,"a\n', "row 2: not CSV: unexpected end of data"),
        ("path,label\n0.png,\xff\n", "not UTF-8"),
    ],
)  # fmt: skip
def test_mistakes_in_a_csv_name_the_row(tmp_path, text, message):
    draw(tmp_path, "circle", 3)
    (tmp_path / "list.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=rf"list.csv: .*{message}"):
        load(tmp_path / "list.csv")


def test_a_group_is_in_one_part_only(tmp_path):
    draw(tmp_path / "p", "circle", 36)
    rows = [(f"p/{i}.png", "ab"[i % 2], f"g{i // 4}" if i < 32 else "") for i in range(36)]
    path = write_csv(tmp_path / "list.csv", [("path", "label", "group"), *rows])
    dataset = load(path, val_split=0.2)
    groups = [{sample.group for sample in part} - {None} for part in (dataset.train, dataset.val, dataset.test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 8
    assert len(dataset.test) == pytest.approx(0.2 * 36, abs=2)
    other = load(path, val_split=0.2, seed=1)
    assert [sample.name for sample in other.test] == [sample.name for sample in dataset.test]


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "list.txt").write_text("path,label\n")
    with pytest.raises(DataError, match=r"list.txt: a file; expected a folder .* a .csv or .mat file"):
        load(tmp_path / "list.txt")
