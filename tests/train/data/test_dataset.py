import os
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.loading import Notes, load, load_with
from support.pictures import SHARED, draw_shape
from tl_infer import load_image
from tl_train.config import TrainConfig
from tl_train.data.dataset import fingerprint
from tl_train.data.samples import Sample
from tl_train.data.sources.built_in import CATS_DOGS_FILES
from tl_train.data.split import split
from tl_train.errors import DataError


def test_a_folder_gives_its_classes_in_natural_order(tmp_path):
    for name in ("c10", "c2", ".cache"):
        (tmp_path / name).mkdir()
        for number in range(4):
            draw_shape("circle", number).save(tmp_path / name / f"{number}.png")
    dataset = load(tmp_path)
    assert dataset.labels == ("c2", "c10")
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (4, 2, 2)


def test_the_parts_are_disjoint_and_complete(shapes):
    dataset = load(shapes)
    names = [sample.name for part in (dataset.train, dataset.val, dataset.test) for sample in part]
    assert len(names) == len(set(names)) == 30
    for part in (dataset.train, dataset.val, dataset.test):
        assert {sample.label for sample in part} == {0, 1, 2}


def test_the_test_pictures_do_not_depend_on_the_seed(shapes):
    first, second = load(shapes, seed=1), load(shapes, seed=2)
    assert [sample.name for sample in first.test] == [sample.name for sample in second.test]
    assert [sample.name for sample in first.val] != [sample.name for sample in second.val]


def test_the_fingerprint_knows_pixels_labels_and_split(shapes):
    first = fingerprint(load(shapes))
    assert first == fingerprint(load(shapes))
    assert first != fingerprint(load(shapes, seed=5))


def test_pixels_are_the_decoders(shapes):
    for sample in load(shapes).train[:3]:
        np.testing.assert_array_equal(sample.load(), load_image(sample.path))


def test_digits_need_no_download_and_keep_their_test_pictures():
    dataset = load("digits")
    assert dataset.labels == tuple("0123456789")
    assert len(dataset.train) + len(dataset.val) == 1438
    assert len(dataset.test) == 359
    pixels = dataset.test[0].load()
    assert pixels.shape == (8, 8, 3)
    assert pixels.max() == 255


@pytest.mark.skipif(not (SHARED / "cats_dogs").is_dir(), reason="the chapter's data are not beside the checkout")
def test_cats_and_dogs_keep_the_chapters_split(tmp_path, monkeypatch):
    for remote in CATS_DOGS_FILES.values():
        shutil.copy(SHARED / "cats_dogs" / remote.name, tmp_path)
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path))
    dataset = load("cats-dogs", val_split=0)
    assert dataset.labels == ("dog", "cat")
    for part in (dataset.train, dataset.test):
        assert [sample.label for sample in part] == [0] * 40 + [1] * 40
    assert dataset.train[0].name == "dog-00"
    assert dataset.test[40].name == "cat-40"
    dog = dataset.train[0].load()
    assert dog.shape == (64, 64, 3)
    # The stored column is the transposed picture: the first row of pixels is every 64th value.
    import scipy.io

    column = scipy.io.loadmat(tmp_path / "dogData.mat")["dog"][:, 0]
    np.testing.assert_array_equal(dog[0, :, 0], column[::64])


def test_folders_that_cannot_be_trained_on_are_explained(tmp_path, shapes):
    with pytest.raises(DataError, match=r"nowhere: no such folder; expected .* cats-dogs or digits"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no sub-folders; expected one sub-folder with images per class"):
        load(tmp_path)
    (tmp_path / "dog").mkdir()
    draw_shape("circle", 0).save(tmp_path / "dog" / "1.png")
    with pytest.raises(DataError, match=r"one class only \('dog'\)"):
        load(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match=r"cat: the class is empty"):
        load(tmp_path)
    draw_shape("square", 0).save(tmp_path / "cat" / "1.png")
    with pytest.raises(DataError, match=r"class 'cat': 1 image\(s\) left to split, expected at least 2"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"circle0.png: a file; expected a folder"):
        load(shapes / "circle" / "circle0.png")


@pytest.mark.parametrize("name", [b" ", b"caf\xe9", b"a\nb"])
def test_a_class_needs_a_readable_name(tmp_path, name):
    for folder in (os.fsdecode(name), "good"):
        (tmp_path / folder).mkdir()
        draw_shape("circle", 0).save(tmp_path / folder / "1.png")
    with pytest.raises(DataError, match=r"found a class folder named .* expected readable text; rename it"):
        load(tmp_path)


def test_an_unreadable_picture_stops_unless_it_may_be_skipped(shapes, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(shapes, root)
    (root / "circle" / "a.jpg").write_text("no picture")
    (root / "cross" / "b.jpg").write_text("no picture")
    with pytest.raises(DataError, match=r"a.jpg: not an image.*, and 1 more; fix or remove such files, .* --skip-bad"):
        load(root)
    notes = Notes()
    dataset = load_with(TrainConfig.of(str(root), skip_bad=True), notes)
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 30
    assert len(notes.lines) == 2
    assert "a.jpg" in notes.lines[0]


def test_large_images_are_read_where_the_limits_allow_it(shapes, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(shapes, root)
    draw_shape("circle", 77).resize((300, 200)).save(root / "circle" / "large.png")
    for fields, limit in (({"max_pixels": 59_999}, "59999 in all"), ({"max_side": 299}, "299 for a side")):
        with pytest.raises(
            DataError,
            match=rf"large.png: 300 x 200 pixels, the limit is {limit}; .* raise --max-pixels or --max-",
        ):
            load(root, **fields)
    dataset = load(root, max_pixels=60_000, max_side=300)
    (sample,) = [sample for sample in (*dataset.train, *dataset.val, *dataset.test) if "large.png" in sample.name]
    assert sample.load().shape == (200, 300, 3)


@given(counts=st.lists(st.integers(3, 30), min_size=2, max_size=4), share=st.floats(0.01, 0.6), seed=st.integers(0, 99))
def test_a_split_is_stratified_complete_and_repeatable(counts, share, seed):
    samples = [Sample(f"{label}-{i}", label) for label, count in enumerate(counts) for i in range(count)]
    labels = [str(label) for label in range(len(counts))]
    kept, held_back = split(samples, labels, share, seed)
    assert sorted(sample.name for sample in kept + held_back) == sorted(sample.name for sample in samples)
    for label, count in enumerate(counts):
        held = sum(sample.label == label for sample in held_back)
        assert 1 <= held < count
        assert abs(held - share * count) <= max(0.5, 1 - share * count)
    again = split(samples, labels, share, seed)
    assert [sample.name for sample in again[1]] == [sample.name for sample in held_back]


def test_the_cache_lets_no_image_pass_that_other_limits_or_formats_refuse(shapes, tmp_path):
    shutil.copytree(shapes, tmp_path / "data")
    draw_shape("circle", 1).resize((190, 180)).save(tmp_path / "data" / "circle" / "large.png")
    draw_shape("circle", 2).save(tmp_path / "data" / "circle" / "x.ppm")
    root = tmp_path / "data"
    assert not load(root, formats="pnm").broken
    with pytest.raises(DataError, match=r"x\.ppm: PNM images are read only if asked for"):
        load(root)
    with pytest.raises(DataError, match=r"large\.png: 190 x 180 pixels, the limit is 180 for a side"):
        load(root, formats="pnm", max_side=180)
