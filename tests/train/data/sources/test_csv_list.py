import csv
import os
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.loading import Notes, load, load_with
from support.pictures import draw
from tl_train.config import TrainConfig
from tl_train.data.sources.reading import read_source
from tl_train.errors import ConfigError, DataError
from tl_train.progress import Progress


def write_csv(path, rows, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


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
        ("", "row 1: no column for the images; found nothing, expected path, filename, file, image, image_id or id"),
        ("pic,label\n", "row 1: no column for the images; found pic, label, .* --csv-columns path=NAME"),
        ("path,dx\n0.png,a\n", "row 1: no column for the labels; found path, dx, .* category or species, or --csv-col"),
        ("path,label,label\n", "row 1: column 'label' is there 2 times"),
        ("9.png,a\n0.png,b\n", "row 1: .*9.png: no such file; expected an image"),
        ("path,labels\n0.png,a|b\n", "found path, labels, .*; if the images have several labels each, use --multi"),
        ("0.png,a,train\n", "found 0.png, a, train, .*only a list of two columns, images and labels, needs no header"),
        ("path,label\n", "no training images; expected training images of two or more classes"),
        ("path,label\n0.png,a\n", r"one class only \('a'\)"),
        ("path,label\n0.png,a\n\n1.png\n", "row 4: 1 cells, expected 2"),
        ("path,label\n0.png, \n", "row 2: the label is empty"),
        ("path,label\n0.png,a\n,\n ,\t\n1.png\n", "row 5: 1 cells, expected 2"),
        ("path,label\n,a\n", "row 2: the path is empty"),
        ("path,label\n0.png,a\n9.png,b\n", "row 3: .*9.png: no such file"),
        ("path,label\n.,a\n", "row 2: .*: a folder; expected an image"),
        ("path,label\na\0b,a\n", "row 2: not CSV: a NUL byte; save the file as UTF-8 text"),
        (f"path,label\n{'x' * 300},a\n", "row 2: .*(no such file|not a usable path)"),
        ("path,label\n0.png,a\n0.png,b\n", "row 3: .*0.png' is listed in row 2 already"),
        ("path,label,split\n0.png,a,later\n", "row 2: split is 'later', expected train, val or test"),
        (f"path,label\n0.png,{'x' * 200_000}\n", "row 2: not CSV: a cell of more than 131072 characters; is a quot"),
        ("path;label\n0.png;a\"b;c\n", "row 2: 3 cells, expected 2"),
        ('path;label\n0.png;"a"b\n', "row 2: not CSV: .* expected semicolons between cells"),
        ("path,label,class\n", "row 1: the columns 'label' and 'class' could all be the labels; .* label=label"),
        ("id,image_id,label\n", "row 1: the columns 'id' and 'image_id' could all be the images; .* path=id"),
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


def test_an_image_is_listed_once_however_its_path_is_written(tmp_path):
    draw(tmp_path / "p", "circle", 2)
    for other in ("p/../p/0.png", tmp_path / "p" / "0.png", f"../{tmp_path.name}/p/0.png"):
        path = write_csv(tmp_path / "list.csv", [("path", "label"), ("p/0.png", "a"), ("p/1.png", "b"), (other, "b")])
        with pytest.raises(DataError, match=r"row 4: '.*0.png' is listed in row 2 already"):
            load(path)


def test_a_column_of_parts_that_is_not_used_is_pointed_out(tmp_path):
    draw(tmp_path, "circle", 16)
    rows = [(f"{i}.png", "ab"[i % 2], ("train", "Test")[i // 8], "train") for i in range(16)]
    path = write_csv(tmp_path / "list.csv", [("path", "label", "set", "shown"), *rows])
    unused = f"{path}: columns not used: set, shown"
    hint = (
        f"{path}: column 'set' names parts of the data, but the images are not divided by it; "
        "--csv-columns split=set does so"
    )
    for parts, said in (("auto", [unused, hint]), ("ignore", [unused])):
        notes = Notes()
        load_with(TrainConfig.of(str(path), parts=parts), notes)
        assert notes.lines == said


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


HEADERS = st.tuples(
    st.sampled_from(["path", "Filename", "FILE", "image", "Image ID", "id", "image_path"]),
    st.sampled_from(["label", "Class", "target", "CATEGORY", "species"]),
    st.sampled_from(["split", "Part", "subset", "fold"]),
)


@settings(max_examples=40)
@given(
    header=HEADERS,
    delimiter=st.sampled_from(",;\t"),
    order=st.permutations([0, 1, 2, 3]),
    ids=st.booleans(),
    said=st.booleans(),
)
def test_usual_names_and_delimiters_in_any_order_give_the_same_list(
    tmp_path_factory, header, delimiter, order, ids, said
):
    root = tmp_path_factory.mktemp("list")
    rows = [(*header, "score, kg")]
    for i in range(6):
        (root / f"p.{i}.JPG").touch()
        part = ("TRAIN", "Training", "dev", "valid", "test", "testing")[i]
        rows.append((f"p.{i}" if ids else f"p.{i}.JPG", "ab"[i % 2], part, "0,5"))
    path = write_csv(root / "list.csv", [[row[place] for place in order] for row in rows], delimiter)
    if said:
        path.write_text(f"sep={delimiter}\n{path.read_text()}")
    source = read_source(TrainConfig.of(str(path)), Progress())
    assert source.labels == ("a", "b")
    assert [[sample.path.name for sample in part] for part in (source.train, source.val, source.test)] == [
        ["p.0.JPG", "p.1.JPG"], ["p.2.JPG", "p.3.JPG"], ["p.4.JPG", "p.5.JPG"],
    ]  # fmt: skip
    assert [sample.label for sample in source.test] == [0, 1]


def read(path, **fields):
    notes = Notes()
    return read_source(TrainConfig.of(str(path), **fields), notes), notes.lines


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_two_columns_need_no_header(tmp_path, delimiter):
    for i in range(4):
        (tmp_path / f"{i}, a.png").touch()
    path = write_csv(tmp_path / "l.tsv", [(f"{i}, a.png", "ab"[i % 2]) for i in range(4)], delimiter)
    source, notes = read(path)
    assert [sample.path.name for sample in source.train] == [f"{i}, a.png" for i in range(4)]
    assert notes == []


def test_the_user_says_which_columns_and_where_the_images_are(tmp_path):
    draw(tmp_path / "images", "circle", 4)
    (tmp_path / "lists").mkdir()
    rows = [("path", "label", "Bild Nr.", "Art, lat.", "fold")]
    rows += [("x", "y", i, "ab"[i % 2], i) for i in range(4)]
    path = write_csv(tmp_path / "lists" / "l.csv", rows, ";")
    fields = {"csv_columns": 'path=bild nr.,"label=Art, lat."', "images_root": str(tmp_path / "images")}
    source, notes = read(path, **fields)
    assert source.labels == ("a", "b")
    assert source.train[3].path == tmp_path / "images" / "3.png"
    assert notes == [f"{path}: columns not used: path, label, fold"], "numbers of folds are no parts"
    with pytest.raises(DataError, match=r"row 2: .*lists/0: no such file; .*\(--images-root names another folder\)"):
        read(path, csv_columns=fields["csv_columns"])
    with pytest.raises(DataError, match=r"row 1: no column 'nr' \(--csv-columns\); found path, label, Bild Nr., Art"):
        read(path, csv_columns="path=nr")
    for text in ("path", "path=", "image=x", "path=a,path=b"):
        with pytest.raises(ConfigError, match=f"csv_columns: found '{text}', expected path=NAME,label=NAME"):
            read(path, csv_columns=text)


def test_a_part_of_the_body_is_no_part_of_the_data_and_an_option_says_not_to_look(tmp_path):
    draw(tmp_path, "circle", 4)
    for column, words in (("part", ("head", "leg")), ("split", ("train", "test"))):
        rows = [("path", "label", column), *((f"{i}.png", "ab"[i // 2], words[i % 2]) for i in range(4))]
        path = write_csv(tmp_path / "l.csv", rows)
        source, notes = read(path, parts="ignore" if column == "split" else "auto")
        assert source.test is None
        assert len(source.train) == 4
        assert notes == [f"{path}: columns not used: {column}"]


def test_a_name_without_suffix_that_two_files_have_is_refused(tmp_path):
    draw(tmp_path, "circle", 3)
    (tmp_path / "1.jpeg").touch()
    path = write_csv(tmp_path / "l.csv", [("id", "species"), *((i, "ab"[i % 2]) for i in range(3))])
    with pytest.raises(
        DataError, match=r"row 3: [^(]*/1: could be 1.(jpeg|png) or 1.(jpeg|png); expected a name with its"
    ):
        read(path)


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("listed", ["NFC", "NFD"])
def test_paths_and_labels_are_found_in_either_normal_form(tmp_path, stored, listed):
    name = "caf\u00e9"
    folder = tmp_path / unicodedata.normalize(stored, name)
    draw(folder, "circle", 4)
    entry = unicodedata.normalize(listed, name)
    rows = [(f"{entry}\\{i}.png" if i % 2 else f" {entry}/{i}", (entry, "b", name, "b")[i]) for i in range(4)]
    source, _ = read(write_csv(tmp_path / "l.csv", [("file", "class"), *rows]))
    assert [sample.path for sample in source.train] == [folder / f"{i}.png" for i in range(4)]
    assert source.labels == ("b", name)


def test_a_column_per_class_is_refused_with_what_to_do(tmp_path):
    draw(tmp_path, "circle", 2)
    rows = [("image", "MEL", "NV", "age"), ("0", "1.0", "0.0", "50"), ("1", "0.0", "1.0", "60")]
    with pytest.raises(DataError, match=r"for each of MEL, NV: several labels per image need --multi-label; if"):
        read(write_csv(tmp_path / "l.csv", rows))


@pytest.mark.parametrize("target", ["fifo", "/dev/zero", "/dev/null", "large"])
def test_what_is_no_list_is_refused_at_once(tmp_path, target):
    path = tmp_path / "l.csv"
    if target == "fifo":
        os.mkfifo(path)
    elif target == "large":
        path.touch()
        os.truncate(path, 300_000_000)
    else:
        path.symlink_to(target)
    with pytest.raises(DataError, match=r"l.csv: cannot be read: (not a regular file|300000000 bytes, the limit is)"):
        read(path)


def test_a_class_without_training_images_shows_what_it_looks_like(tmp_path):
    draw(tmp_path, "circle", 3)
    rows = [("path", "label", "split"), ("0.png", "a", "train"), ("1.png", "b", "train"), ("2.png", "\u0430", "test")]
    with pytest.raises(DataError, match=r"row 4: class '.' has no training images; it looks like 'a', but has U\+0430"):
        read(write_csv(tmp_path / "l.csv", rows))


def test_a_list_of_two_parts_keeps_the_second_for_the_figures(tmp_path):
    draw(tmp_path, "circle", 8)
    rows = [(f"{i}.png", "ab"[i % 2], "Valid" if i > 3 else "TRAIN") for i in range(8)]
    dataset = load(write_csv(tmp_path / "l.csv", [("path", "label", "split"), *rows]), mode="head")
    assert [len(part) for part in (dataset.train, dataset.val, dataset.test)] == [4, 0, 4]


def test_a_column_means_one_thing_only(tmp_path, shapes):
    rows = [(f"{shapes}/circle/circle{i}.png", "ab"[i % 2]) for i in range(8)]
    path = write_csv(tmp_path / "list.csv", [("path", "label"), *rows])
    with pytest.raises(DataError, match="row 1: column 'path' cannot hold the images and the labels; expected a col"):
        load(path, csv_columns="label=path")


def test_a_group_of_blanks_is_none(tmp_path, shapes):
    rows = [(f"{shapes}/circle/circle{i}.png", "ab"[i % 2], " ") for i in range(8)]
    dataset = load(write_csv(tmp_path / "list.csv", [("path", "label", "group"), *rows]))
    assert {sample.group for sample in (*dataset.train, *dataset.val, *dataset.test)} == {None}
