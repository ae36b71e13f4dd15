"""Images with several labels, from a CSV file and from class folders; what is wrong in a file, by its row."""

import csv
import shutil

import numpy as np
import pytest

from support.loading import Notes, load, load_with
from support.pictures import draw
from tl_train.config import TrainConfig
from tl_train.data.dataset import fingerprint
from tl_train.data.samples import targets_of
from tl_train.data.sources.reading import read_source
from tl_train.errors import ConfigError, DataError
from tl_train.progress import Progress


def write_csv(path, rows, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def source_of(path, progress=None, **fields):
    return read_source(TrainConfig.of(str(path), multi_label=True, **fields), progress or Progress())


@pytest.fixture
def listed(tmp_path):
    """Makes a list of images that are there."""
    draw(tmp_path / "p", "circle", 40)

    def make(header, cells):
        rows = [(f"p/{number}.png", *row) for number, row in enumerate(cells)]
        return write_csv(tmp_path / "list.csv", [("path", *header), *rows])

    return make


def test_a_column_of_labels(listed):
    source = source_of(listed(["labels"], [["cat|dog 10"], ["dog 2"], [" dog 2 | dog 10"]]))
    assert source.labels == ("cat", "dog 2", "dog 10"), "in natural order"
    np.testing.assert_array_equal(targets_of(source.train, 3), [[1, 0, 1], [0, 1, 0], [0, 1, 1]])
    assert [sample.present for sample in source.train] == [(0, 2), (1,), (1, 2)]


@pytest.mark.parametrize("header", ["labels", "Tags", "label", "Finding Labels"])
def test_usual_names_of_that_column_and_any_separator(listed, header):
    path = listed([header], [["a;b"], ["b"], ["a"]])
    assert source_of(path, label_separator=";").labels == ("a", "b")


def test_a_column_is_named(listed):
    path = listed(["what", "labels"], [["a|b", "x"], ["b", "y"]])
    assert source_of(path, csv_columns="label=what").labels == ("a", "b")


def test_a_column_for_each_label(listed):
    path = listed(["who", "cat", "dog", "id"], [["eve", 1, 0, 17], ["bob", "", "1.0", 18], ["eve", "False", "", 1]])
    notes = Notes()
    source = source_of(path, notes)
    assert source.labels == ("cat", "dog"), "in the order of the columns"
    np.testing.assert_array_equal(targets_of(source.train, 2), [[1, 0], [np.nan, 1], [0, np.nan]])
    assert notes.lines == [f"{path}: columns not used: who, id"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,labels\n0.png,a|b\n1.png, \n", "row 3: no labels; expected one or more, with '|' between them; for an"),
        ("path,labels\n0.png,a||b\n", "row 2: labels 'a||b': an empty name beside '|'"),
        ("path,labels\n0.png,a|b|\n", "row 2: labels 'a|b|': an empty name beside '|'"),
        ("path,labels\n0.png,a|b|a\n", "row 2: label 'a' is there twice"),
        ("path,labels\n0.png,a|b\n0.png,a\n", "0.png' is listed in row 2 already; expected one row with all its"),
        ("path,labels\n0.png,a|b\n9.png,a\n", "row 3: "),
        ("path,labels\n0.png,a;b\n1.png,a\n", "no image has several labels, as '|' is in no cell; ';' is in 1: if"),
        ("path,labels\n0.png,a\n1.png,a\n", "one label only ('a'); expected training images of two or more labels"),
        ("path,labels\n0.png,a|b,c\n", "row 2: 3 cells, expected 2 as in the first row"),
        ("path,labels,split\n0.png,cat|b,train\n1.png,cta,test\n", "row 3: label 'cta' has no training images; is it"),
        ("path,labels,split\n0.png,a|b,later\n", "row 2: split is 'later', expected train, val or test"),
        ("path,text\n0.png,a|b\n", "row 1: no column for the labels; found path, text, expected 'labels', with all"),
        ("path,cat\n0.png,1\n", "row 1: no column for the labels; found path, cat, expected 'labels'"),
        ("picture,labels\n0.png,a|b\n", "row 1: no column for the images; found picture, labels"),
        ("path,cat,dog\n0.png,1,0\n1.png,-1,1\n", "row 3: column 'cat' is '-1', expected 1, 0, or nothing where it is"),
        ("path,cat,dog\n0.png,1,0\n1.png,0,yes\n2.png,0,1\n", "row 3: column 'dog' is 'yes', expected 1, 0"),
        ("path,cat,dog\n0.png,1,0\n1.png,,\n", "row 3: nothing is known of this image, every label is empty"),
        ("path,cat,cat\n0.png,1,0\n", "row 1: a label's column 'cat' is there twice"),
        ("path,labels,tags\n0.png,a|b,c\n", "row 1: the columns 'labels' and 'tags' could all be the labels"),
        ("path,labels,split,group\n0.png,a|b,train,g\n1.png,b,test,g\n", "group 'g' is in test, but in train in row 2"),
    ],
)  # fmt: skip
def test_mistakes_name_the_row(tmp_path, text, message):
    draw(tmp_path, "circle", 3)
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        source_of(tmp_path / "list.csv")
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/list.csv: ")


def test_images_in_several_folders_have_all_their_labels(tmp_path):
    draw(tmp_path / "cat", "circle", 3)
    draw(tmp_path / "dog", "square", 3)
    shutil.copy(tmp_path / "cat" / "1.png", tmp_path / "dog" / "also.png")
    shutil.copy(tmp_path / "cat" / "2.png", tmp_path / "cat" / "copy.png")
    notes = Notes()
    source = source_of(tmp_path, notes)
    found = {sample.path.name: sample.present for sample in source.train if sample.path.parent.name == "cat"}
    assert found == {"0.png": (0,), "1.png": (0, 1), "2.png": (0,)}
    assert len(source.train) == 6
    np.testing.assert_array_equal(targets_of(source.train, 2).sum(axis=0), [3, 4])
    assert "6 different images in 8 files; 1 of them lie in several class folders" in notes.lines
    assert not source.remarks


def test_folders_that_share_no_image_are_remarked_on(shapes):
    (remark,) = source_of(shapes).remarks
    assert remark.startswith("no image lies in more than one class folder")


def test_parts_are_compared_each_by_itself(tmp_path):
    for part in ("train", "test"):
        draw(tmp_path / part / "a", "circle", 2)
        draw(tmp_path / part / "b", "circle", 2)
    source = source_of(tmp_path)
    assert [sample.present for sample in source.train] == [(0, 1), (0, 1)]
    assert [sample.present for sample in source.test] == [(0, 1), (0, 1)]


def test_the_split_holds_back_each_label_and_images_of_none(listed):
    random = np.random.default_rng(3)
    flags = (random.random((40, 3)) < [0.5, 0.3, 0.1]).astype(int)
    flags[:8] = 0
    flags[8:12, 2] = 1
    dataset = load(listed(["a", "b", "c"], flags.tolist()), multi_label=True, test_split=0.25, val_split=0)
    assert dataset.has_several
    test, train = (targets_of(part, 3) for part in (dataset.test, dataset.train))
    wanted = np.append(flags.sum(axis=0), (flags.sum(axis=1) == 0).sum()) * 0.25
    held = np.append(test.sum(axis=0), (test.sum(axis=1) == 0).sum())
    np.testing.assert_allclose(held, wanted, atol=1.5)
    assert len(test) + len(train) == 40
    assert (held >= 1).all()
    again = load(listed(["a", "b", "c"], flags.tolist()), multi_label=True, test_split=0.25, val_split=0, seed=5)
    assert [sample.name for sample in again.test] == [sample.name for sample in dataset.test]


def test_a_label_that_is_too_rare_to_split_is_named(listed):
    flags = [[1, number % 2, int(number == 3)] for number in range(12)]
    with pytest.raises(DataError, match=r"class 'c': 1 image\(s\) left to split; add images of it"):
        load(listed(["a", "b", "c"], flags), multi_label=True)


def test_unknown_labels_are_part_of_the_fingerprint(listed):
    rows = [[1, number % 2] for number in range(10)]
    known = load(listed(["a", "b"], rows), multi_label=True, test_split=0)
    rows[4] = ["", 0]
    unknown = load(listed(["a", "b"], rows), multi_label=True, test_split=0)
    assert fingerprint(known) != fingerprint(unknown)


def test_what_does_not_go_with_it_is_refused(shapes, tmp_path):
    for fields, message in (
        ({"mode": "partial"}, "mode: found partial, expected head, gradual, full or auto"),
        ({"arch": "auto"}, "arch: found auto, expected one architecture with multi_label"),
        ({"mode": "full", "head_fit": "sgd", "prior": "none"}, "head_fit: found sgd, expected penalised"),
        ({"prior": "a.toml"}, "prior: found a.toml, expected none with multi_label"),
        ({"mode": "full", "label_smoothing": 0.1}, "label_smoothing: found 0.1, expected 0"),
        ({"class_weights": "balanced"}, "class_weights: found balanced, expected none"),
        ({"fix": "suspects.csv"}, "fix: found suspects.csv, expected no corrections"),
        ({"unknown": str(shapes)}, "unknown: found .*, expected nothing with multi_label"),
        ({"label_precision": 1.5}, "label_precision: found 1.5, expected above 0, at most 1"),
        ({"label_separator": ""}, "label_separator: found nothing"),
    ):
        with pytest.raises(ConfigError, match=message):
            TrainConfig.of(str(shapes), multi_label=True, **fields)
    with pytest.raises(ConfigError, match="label_separator: found ;, expected multi_label with it"):
        TrainConfig.of(str(shapes), label_separator=";")
    with pytest.raises(ConfigError, match=r"label_precision: found 0\.9, expected multi_label with it"):
        TrainConfig.of(str(shapes), label_precision=0.9)
    with pytest.raises(
        DataError, match=r"digits: its images have one label each; multi_label needs a folder or a \.csv"
    ):
        source_of("digits")


def test_the_default_mode_is_head(shapes):
    config = TrainConfig.of(str(shapes), multi_label=True)
    assert (config.model.mode, config.model.label_smoothing) == ("head", 0)
    assert TrainConfig.of(str(shapes), multi_label=True, mode="auto") == config
    assert config.changed(seed=1).model.mode == "head"


def test_what_is_seen_before_training_counts_each_label(listed):
    notes = Notes()
    flags = [[1, number % 2] for number in range(30)]
    dataset = load_with(
        TrainConfig.of(str(listed(["a", "b"], flags)), multi_label=True, test_split=0, val_split=0), notes
    )
    from tl_train.preflight.preflight import preflight

    assert preflight(dataset).counts["train"] == {"a": 30, "b": 15}
