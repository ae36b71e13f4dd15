import shutil
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.loading import BY_STEPS, Notes, load, load_with
from support.pictures import draw, draw_shape
from tl_train.config import TrainConfig
from tl_train.data.sources.reading import read_source
from tl_train.errors import ConfigError, DataError
from tl_train.preflight.preflight import preflight
from tl_train.progress import Progress

NFC, NFD = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))


def parts_of(dataset):
    return len(dataset.train), len(dataset.val), len(dataset.test)


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
    with pytest.raises(DataError, match=r"cros: class 'cros' is not among the training images; is it 'cross'\?"):
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


@pytest.mark.parametrize("other", ["val", "Valid", "VALIDATION", "dev", "test", "Testing"])
@pytest.mark.parametrize("first", ["train", "TRAINING"])
def test_one_part_beside_the_training_images_is_kept_whole_for_the_figures(tmp_path, first, other):
    for part, count in ((first, 5), (other, 3)):
        for shape in ("circle", "cross"):
            draw(tmp_path / part / shape, shape, count)
    assert parts_of(load(tmp_path, mode="head")) == (10, 0, 6), "a penalised head has no steps to watch"
    assert parts_of(load(tmp_path)) == (10, 0, 6), "training the last stages holds images back by itself"
    assert parts_of(load(tmp_path, **BY_STEPS)) == (8, 2, 6)
    assert parts_of(load(tmp_path, mode="gradual")) == (8, 2, 6)
    assert parts_of(load(tmp_path, mode="head", val_split=0.4)) == (6, 4, 6), "who asks for it gets it"


def test_a_share_that_is_not_split_off_is_told(tmp_path):
    for part in ("train", "val", "test"):
        for shape in ("circle", "cross"):
            draw(tmp_path / part / shape, shape, 4)
    notes = Notes()
    load_with(TrainConfig.of(str(tmp_path), val_split=0.3), notes)
    assert notes.lines == ["No effect: --val-split 0.3; the dataset has its own validation split"]
    shutil.rmtree(tmp_path / "test")
    load_with(TrainConfig.of(str(tmp_path), test_split=0.5), notes)
    assert "kept whole for the final figures" in notes.lines[1]
    assert "No effect: --test-split 0.5" in notes.lines[2]


def test_two_spellings_of_a_part_are_refused_with_both(tmp_path):
    for name in ("train", "val", "Valid"):
        draw(tmp_path / name / "circle", "circle", 3)
    with pytest.raises(DataError, match=r"'val' and 'Valid' both name the val images; .* --parts ignore"):
        load(tmp_path)
    with pytest.raises(DataError, match="both name the val images"):
        load(tmp_path, mode="full")


def test_folders_named_like_parts_are_classes_only_where_an_option_says_so(tmp_path):
    for name in ("train", "test"):
        draw(tmp_path / name, "circle", 4)
    with pytest.raises(DataError, match=r"train: no sub-folders; .*; the 4 image\(s\) in it have no class"):
        load(tmp_path)
    assert load(tmp_path, parts="ignore").labels == ("test", "train")


def test_a_part_of_another_name_is_not_taken_for_a_class(tmp_path):
    for part in ("train", "holdout"):
        for shape in ("circle", "cross"):
            draw(tmp_path / part / shape, shape, 3)
    with pytest.raises(DataError, match=r"parts \(train\) beside other folders \(holdout\)"):
        load(tmp_path)
    (tmp_path / "train").rename(tmp_path / "first")
    (remark,) = load(tmp_path).remarks
    assert "the class folders first, holdout all hold the same folders (circle, cross)" in remark
    (tmp_path / "first").rename(tmp_path / "inner")
    (tmp_path / "first").mkdir()
    (tmp_path / "inner").rename(tmp_path / "first" / "first")  # as an archive is unpacked into a folder of its name
    shutil.rmtree(tmp_path / "holdout" / "cross")
    draw(tmp_path / "holdout" / "square", "square", 3)
    assert load(tmp_path).remarks == ()
    shutil.rmtree(tmp_path / "holdout" / "square")
    draw(tmp_path / "holdout" / "cross", "cross", 3)
    draw(tmp_path / "first" / "first" / "square", "square", 3)
    (remark,) = load(tmp_path).remarks
    assert "the class folders first, holdout all hold the same folders (circle, cross, square)" in remark
    (tmp_path / "first").rename(tmp_path / "holdout" / "first")
    with pytest.raises(DataError, match=r"one class only \('holdout'\).*; or are its sub-folders the classes\? Then"):
        load(tmp_path)


def test_images_that_belong_to_no_class_are_counted_and_named(tmp_path):
    for shape in ("circle", "cross"):
        draw(tmp_path / "train" / shape, shape, 12)
        draw(tmp_path / "val" / shape, shape, 15, first=20)
    assert preflight(load(tmp_path, mode="head")).warnings == (), "no validation images are nothing to warn of"
    draw(tmp_path, "square", 1, first=50)
    draw(tmp_path / "train", "square", 2, first=60)
    draw(tmp_path / "val", "square", 5, first=70)
    draw(tmp_path / "test", "square", 4, first=80)
    (tmp_path / "train" / "notes.txt").write_text("no image")
    dataset = load(tmp_path, mode="head")
    assert parts_of(dataset) == (24, 0, 30), "the unlabelled test/ is no part"
    warnings = preflight(dataset).warnings
    assert [f"{tmp_path}{rest}" in warning for rest, warning in zip(
        (" lie beside the parts, first 50.png", "/train lie beside the class folders, first 60.png, 61.png: they",
         "/val lie beside the class folders, first 70.png, 71.png, 72.png, and 2 more: they are not used; move",
         "/test have no class folder, first 80.png, 81.png, 82.png, and 1 more: they are not used; sort"),
        warnings, strict=True)] == [True] * 4  # fmt: skip
    assert warnings[2].startswith("5 image(s) in ")


def test_images_beside_class_folders_without_parts_are_named_too(shapes, tmp_path):
    shutil.copytree(shapes, tmp_path / "data")
    draw_shape("cross", 99).save(tmp_path / "data" / "IMG.JPG", "JPEG")
    draw_shape("cross", 98).save(tmp_path / "data" / ".hidden.png")
    (remark,) = load(tmp_path / "data").remarks
    assert remark.startswith(f"1 image(s) in {tmp_path / 'data'} lie beside the class folders, first IMG.JPG: they")


def test_an_empty_part_and_a_link_to_nowhere_are_errors(tmp_path):
    for shape in ("circle", "cross"):
        draw(tmp_path / "train" / shape, shape, 4)
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match=r"test: no images in this part of the data; .* add them, or remove the folder"):
        load(tmp_path)
    (tmp_path / "test").rmdir()
    (tmp_path / "test").symlink_to(tmp_path / "absent")
    with pytest.raises(DataError, match="test: broken symlink; fix or remove it"):
        load(tmp_path)


def test_names_equal_in_nfc_are_one_class_across_parts_and_an_error_within_one(tmp_path):
    for part, name in (("train", NFC), ("val", NFD), ("test", NFD)):
        draw(tmp_path / part / name, "circle", 3)
        draw(tmp_path / part / "tea", "cross", 3)
    dataset = load(tmp_path)
    assert dataset.labels == (NFC, "tea")
    assert parts_of(dataset) == (6, 6, 6)
    draw(tmp_path / "val" / NFC, "circle", 3)
    with pytest.raises(DataError, match=r"two folders for class 'caf.*U\+0065 .*U\+0301 .*U\+00E9 .*at character 4"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("t\u0435a", r"it looks like 'tea', but has U\+0435 CYRILLIC SMALL LETTER IE against U\+0065 LATIN SMALL"),
        ("Tea", r"it looks like 'tea', but has U\+0054 LATIN CAPITAL LETTER T against U\+0074"),
        ("tea ", r"it looks like 'tea', but has U\+0020 SPACE against nothing, at character 4"),
        ("coffee", "is not among the training images; expected"),
    ],
)
def test_a_class_that_is_not_trained_on_shows_how_it_differs(tmp_path, name, message):
    for part, other in (("train", "tea"), ("test", name)):
        draw(tmp_path / part / other, "circle", 3)
        draw(tmp_path / part / "milk", "cross", 3)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


PART_FOLDERS = st.sampled_from(["train", "Training", "val", "valid", "dev", "test", "TESTING"])


@settings(max_examples=40)
@given(names=st.lists(PART_FOLDERS, min_size=2, max_size=4, unique=True))
def test_two_folders_named_like_parts_are_never_classes(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("parts")
    for name in names:
        for label in ("a", "b"):
            (root / name / label).mkdir(parents=True)
            (root / name / label / "0.png").touch()
    parts = {name.casefold()[:2] for name in names}  # tr, va or de, te
    twice = len(parts) < len(names) or {"va", "de"} <= parts
    if twice or "tr" not in parts:
        with pytest.raises(DataError, match="both name the" if twice else "without train; expected a sub-folder train"):
            read_source(TrainConfig.of(str(root)), Progress())
    else:
        assert read_source(TrainConfig.of(str(root)), Progress()).labels == ("a", "b")


def test_a_broken_link_among_the_images_of_a_class_is_an_image_that_cannot_be_read(shapes, tmp_path):
    shutil.copytree(shapes, tmp_path / "data")
    (tmp_path / "data" / "cross" / "gone.png").symlink_to(tmp_path / "absent.png")
    with pytest.raises(DataError, match=r"gone\.png: .*--skip-bad"):
        load(tmp_path / "data")
    assert len(load(tmp_path / "data", skip_bad=True).broken) == 1


def test_an_empty_name_is_not_the_current_folder(shapes, monkeypatch):
    monkeypatch.chdir(shapes)
    with pytest.raises(ConfigError, match="data: found nothing, expected a folder, a file or"):
        load("")
