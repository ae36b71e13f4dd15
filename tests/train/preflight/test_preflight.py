import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from support.loading import BY_STEPS, dataset_of, load_with
from support.sixteen_bit_files import deep_set
from tl_infer.errors import ImageError
from tl_infer.images import load_image
from tl_train import dry_run, train
from tl_train.config import TrainConfig
from tl_train.data.dataset import Dataset
from tl_train.data.looks import looks_of
from tl_train.data.samples import Sample
from tl_train.errors import RunError
from tl_train.preflight.duplicates import exact_groups, near_groups
from tl_train.preflight.preflight import preflight

TINY = {"arch": "timm:test_efficientnet", "weights": "none", "size": 32, "epochs": 1, **BY_STEPS}


def picture(seed: int, side: int = 48) -> np.ndarray:
    """A smooth picture unlike that of any other seed."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def samples(part: str, *counts: int) -> list[Sample]:
    start = {"train": 0, "val": 10_000, "test": 20_000}[part]
    return [
        Sample(f"{part}-{label}-{i}", label, pixels=picture(start + 1000 * label + i))
        for label, count in enumerate(counts)
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def clean() -> Dataset:
    return dataset_of(("cat", "dog"), samples("train", 12, 12), samples("val", 2, 2), samples("test", 15, 15))


def changed(dataset: Dataset, part: str, *pixels: np.ndarray, label: int = 0) -> Dataset:
    """The data set with pictures added to a part."""
    added = [Sample(f"added-{i}", label, pixels=array) for i, array in enumerate(pixels)]
    return with_parts(dataset, **{part: [*dataset.part(part), *added]})


def with_parts(dataset: Dataset, **fields) -> Dataset:
    """The data set with other parts or labels."""
    names = ("labels", "train", "val", "test", "broken")
    return dataset_of(*(fields.get(name, getattr(dataset, name)) for name in names))


def test_an_unknown_label_is_not_called_absent():
    """Whether two copies contradict each other is for a person to see."""
    targets = [np.array(row, np.float32) for row in ([1, 0], [1, np.nan])]
    same = [Sample(f"{i}", -1, pixels=picture(0), targets=row) for i, row in enumerate(targets)]
    (warning,) = (text for text in preflight(dataset_of(("cat", "dog"), same)).warnings if "different labels" in text)
    assert "0 (train, cat) = 1 (train, cat; unknown: dog): decide which label is right" in warning


def test_clean_data_give_no_warning(clean):
    found = preflight(clean)
    assert found.warnings == ()
    assert found.duplicates == ()
    assert found.counts["train"] == {"cat": 12, "dog": 12}
    assert (found.shorter_px.min, found.longer_px.median, found.color, found.gray) == (48, 48.0, 58, 0)
    assert next(iter(found.lines())).split() == ["class", "train", "val", "test"]


def test_copies_across_parts_and_labels_come_first(clean):
    copy = clean.train[0].pixels
    (group,) = preflight(changed(clean, "test", copy)).duplicates
    assert group.exact
    assert [(item.name, item.part) for item in group.pictures] == [("train-0-0", "train"), ("added-0", "test")]
    (warning,) = preflight(changed(clean, "test", copy)).warnings
    assert warning.startswith(
        "exact duplicates in different parts, 1 group(s), first train-0-0 (train, cat) = added-0 (test"
    )
    assert "remove the copies" in warning
    (warning,) = preflight(changed(clean, "train", copy, label=1)).warnings
    assert "exact duplicates with different labels" in warning
    (warning,) = preflight(changed(clean, "train", copy)).warnings
    assert "within one part and class" in warning


@pytest.mark.parametrize("change", ["half", "jpeg", "bright", "gray"])
def test_a_changed_copy_of_a_photo_is_found_and_other_photos_are_not(photos, tmp_path, change):
    originals = [load_image(path) for path in photos]
    image = Image.fromarray(originals[0])
    if change == "half":
        image = image.resize((image.width // 2, image.height // 2))
    elif change == "jpeg":
        image.save(tmp_path / "copy.jpg", quality=50)
        image = Image.open(tmp_path / "copy.jpg")
    elif change == "bright":
        image = image.point(lambda level: min(255, level * 1.1))
    else:
        image = image.convert("L").convert("RGB")
    looks = looks_of([*originals, np.array(image)])
    assert exact_groups(looks) == []
    assert near_groups(looks) == [[0, len(originals)]]


def test_near_copies_across_parts_are_a_warning(clean):
    brighter = (clean.train[3].pixels * 0.9).astype(np.uint8)
    found = preflight(changed(clean, "val", brighter))
    assert not found.duplicates[0].exact
    assert "near duplicates in different parts" in found.warnings[0]


def test_a_class_name_with_spaces_around_it_is_a_warning(clean):
    (warning,) = preflight(dataclasses.replace(clean, labels=(" cat", "dog"))).warnings
    assert warning.startswith(
        "1 class name(s) with spaces around them, first ' cat': the model's labels will have them"
    )


def test_tiny_and_uniform_pictures_are_never_near():
    uniform = [np.full((40, 40, 3), level, np.uint8) for level in (0, 100, 200)]
    assert near_groups(looks_of([*uniform, picture(0, 8), picture(0, 9)])) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train": samples("train", 60, 12)}, "class 'cat' has 60 training images, 'dog' 12"),
        ({"train": samples("train", 12, 4)}, r"1 class\(es\) with fewer than 10 training images, 'dog' has 4: add"),
        ({"test": samples("test", 5, 5)}, "only 10 test images: each moves the accuracy by 10 percentage points"),
        ({"test": ()}, "no test images, so the accuracy is that of the validation images"),
        ({"test": samples("test", 0, 30)}, r"no test images of class 'cat' \(1 such\): its accuracy is unknown"),
        ({"val": samples("val", 0, 3)}, r"no val images of class 'cat' \(1 such\): no epoch's figures show it"),
        ({"labels": ("dog", "Dog ")}, "classes 'dog' and 'Dog ' differ only in case or spaces"),
        ({"labels": ("1", "1.0")}, "classes '1' and '1.0' are the same number: give one class one name"),
        ({"labels": ("007", "7")}, "classes '007' and '7' are the same number"),
        ({"labels": ("dog", "NaN")}, "a class is named 'NaN', as tables say that a value is missing: label its images"),
        (
            {"labels": ("dog", "d\u043eg")},
            r"classes 'dog' and 'd.g' look the same, but differ: U\+006F .* against U\+043E",
        ),
        ({"labels": ("dog", "Validation")}, "a class is named 'Validation': for parts of the data"),
        (
            {"broken": (ImageError("a.jpg", "damaged"),)},
            r"1 image\(s\) cannot be read, first a.jpg: damaged: fix or remove",
        ),
    ],
)
def test_each_warning_says_what_to_do(clean, fields, message):
    import re

    (warning,) = preflight(with_parts(clean, **fields)).warnings
    assert re.search(message, warning), warning


def test_grey_pictures_in_one_class_only_are_a_warning(clean):
    gray = [
        dataclasses.replace(sample, pixels=np.repeat(sample.pixels[..., :1], 3, axis=2)) if sample.label else sample
        for sample in clean.train
    ]
    found = preflight(with_parts(clean, train=gray, val=(), test=clean.test[:15]))
    assert found.gray == 12
    assert any("100% of class 'dog' is grey, 0% of 'cat'" in warning for warning in found.warnings)


def test_a_run_saves_what_was_found(tiny_run):
    found = json.loads((tiny_run / "preflight.json").read_text())
    assert found["counts"]["test"] == {"circle": 2, "cross": 2, "square": 2}
    assert any("only 6 test images" in warning for warning in found["warnings"])


def test_a_dry_run_finds_everything_changes_nothing_and_lets_the_run_follow(shapes, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(shapes, root)
    (root / "circle" / "bad.png").write_text("no picture")
    before = {path: path.read_bytes() for path in root.rglob("*.png")}
    found = dry_run(TrainConfig.of(str(root), **TINY), str(tmp_path / "run"))
    assert "bad.png" in found.broken[0]
    assert {path: path.read_bytes() for path in root.rglob("*.png")} == before
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.toml", "preflight.json"]
    assert json.loads((tmp_path / "run" / "preflight.json").read_text()) == json.loads(found.to_json())
    train(TrainConfig.of(str(root), skip_bad=True, **TINY), tmp_path / "run")
    with pytest.raises(RunError, match="holds a run already"):
        dry_run(TrainConfig.of(str(root), **TINY), tmp_path / "run")


def test_the_built_in_digits_are_left_in_peace():
    found = preflight(load_with(TrainConfig.of("digits")))
    assert found.duplicates == ()
    assert found.warnings == ()


def depth_warnings(root, **fields):
    found = preflight(load_with(TrainConfig.of(str(root), **fields)))
    return [warning for warning in found.warnings if "16-bit" in warning]


@pytest.mark.parametrize(("bits", "how"), [(8, "black"), (10, "black"), (12, "nearly black"), (14, "dark")])
def test_sixteen_bit_images_of_fewer_bits_are_named_until_their_depth_is(tmp_path, bits, how):
    root = deep_set(tmp_path / "deep", 2**bits - 1)
    (warning,) = depth_warnings(root)
    assert warning.startswith(f"28 16-bit image(s) have no value above {2**bits - 1} of 65535")
    assert how in warning
    assert warning.endswith(f"--bit-depth {bits}")
    assert depth_warnings(root, bit_depth=bits) == []
    dataset = load_with(TrainConfig.of(str(root), bit_depth=bits))
    assert dataset.looks["brightest"].min() == 255
    np.testing.assert_array_equal(dataset.train[0].load().max(), 255)


def test_sixteen_bit_images_of_their_whole_range_and_dark_ones_of_eight_bits_are_left_in_peace(tmp_path):
    assert depth_warnings(deep_set(tmp_path / "deep", 65535)) == []
    for name in ("a", "b"):
        (tmp_path / "dark" / name).mkdir(parents=True)
        for number in range(14):
            Image.fromarray(picture(number) // 30).save(tmp_path / "dark" / name / f"{number}.png")
    assert depth_warnings(tmp_path / "dark") == []


def test_sixteen_bit_tiffs_are_named_and_other_files_are_not(tmp_path):
    root = deep_set(tmp_path / "deep", 1023)
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        with Image.open(path) as image:
            if number % 2:
                image.save(path.with_suffix(".tif"))
            else:
                Image.new("L", image.size, number).save(path.with_suffix(".bmp"))
        path.unlink()
    (warning,) = depth_warnings(root)
    assert warning.startswith("14 16-bit image(s) have no value above 1023 of 65535")


def test_a_few_dark_sixteen_bit_images_among_others_are_counted(tmp_path):
    deep_set(tmp_path / "deep", 4095, count=2)
    (warning,) = depth_warnings(deep_set(tmp_path / "deep", 65535))
    assert warning.startswith("4 of 32 16-bit images have no value above 4095 of 65535, so they come out nearly black")
