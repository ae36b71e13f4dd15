"""Where images come from: the built-in sets, a folder, a CSV list, a `.mat` file -> `Source`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tl_infer.errors import first_line
from tl_infer.images import Pixels
from tl_infer.system.finding import files_below, natural_key
from tl_train.config import TrainConfig
from tl_train.data.csv_list import read_csv
from tl_train.data.mat_file import MatLayout, read_mat
from tl_train.data.samples import PARTS, Sample, Source
from tl_train.data.split import split
from tl_train.downloads import RemoteFile, fetch
from tl_train.errors import ConfigError, DataError
from tl_train.progress import Progress

# The test images are the same for every seed, so that runs can be compared.
TEST_SPLIT_SEED = 0

_PUBLISHED = "https://github.com/dynamicslab/databook_python/raw/refs/heads/master/DATA"
CATS_DOGS_FILES = {
    "dog": RemoteFile(f"{_PUBLISHED}/dogData.mat", "590d8a3681615b18c89ed21f387a76d2e55b9200b4a07b6fe6d68061ea76b6eb"),
    "cat": RemoteFile(f"{_PUBLISHED}/catData.mat", "ad2efb3ca83a3815b55d17973679a4fe7c719cf302e4a72d1df1b46d96e44ad4"),
}
BUILT_IN = ("cats-dogs", "digits")
_EXPECTED = f"a folder with one sub-folder per class, a .csv or .mat file, or {' or '.join(BUILT_IN)}"


def read_source(config: TrainConfig, progress: Progress) -> Source:
    """The images that `config.data.source` names; files are found, not decoded yet.

    Raises:
        ConfigError: options for `.mat` files are missing, or given for something else.
        DataError: no such data, no classes, an empty class, a list or file that cannot be understood.
        DownloadError: a built-in set could not be fetched.

    """
    path = Path(config.data.source)
    try:
        path.stat()
    except FileNotFoundError:
        pass  # a built-in set, or named as absent below
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {first_line(error)}; expected {_EXPECTED}") from error
    is_mat = config.data.source not in BUILT_IN and not path.is_dir() and path.suffix.lower() == ".mat"
    if not is_mat and (config.data.mat_keys or config.data.mat_shape or config.data.mat_order != "column"):
        raise ConfigError(
            f"mat_keys, mat_shape, mat_order: only for .mat files, found data {config.data.source}; leave them out"
        )
    if config.data.source == "cats-dogs":
        return _cats_dogs(progress)
    if config.data.source == "digits":
        return _digits()
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        kind = "file" if path.suffix else "folder"
        raise DataError(f"{path}: no such {kind}; expected {_EXPECTED}")
    if is_mat:
        return _mat(path, MatLayout.parse(config.data.mat_keys, config.data.mat_shape, config.data.mat_order))
    if path.suffix.lower() == ".csv":
        return read_csv(path, progress)
    raise DataError(f"{path}: a file; expected {_EXPECTED}")


def _cats_dogs(progress: Progress) -> Source:
    """The chapter's 80 dogs and 80 cats; first 40 of each to train, last 40 to test, dogs before cats."""
    train: list[Sample] = []
    test: list[Sample] = []
    for label, (name, remote) in enumerate(CATS_DOGS_FILES.items()):
        path = fetch(remote, progress, "train on the set that needs no download: tl-train digits --out DIR")
        layout = MatLayout((name,), 64, 64)
        samples = _mat_class(path, layout, name, label, *read_mat(path, [name]))
        train += samples[:40]
        test += samples[40:80]
    return Source(tuple(CATS_DOGS_FILES), train, test=test)


def _digits() -> Source:
    """scikit-learn's 1797 scanned digits, 8 x 8 grey; a fifth of each class is the test set."""
    import sklearn.datasets

    digits = sklearn.datasets.load_digits()
    labels = tuple(str(name) for name in digits.target_names)
    grays = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # stored as 0..16
    samples = [
        Sample(f"digit-{i:04d}", int(label), pixels=_gray_to_rgb(gray))
        for i, (gray, label) in enumerate(zip(grays, digits.target, strict=True))
    ]
    train, test = split(samples, labels, 0.2, TEST_SPLIT_SEED)
    return Source(labels, train, test=test)


def _mat(path: Path, layout: MatLayout) -> Source:
    if len(layout.keys) < 2:
        raise ConfigError(f"mat_keys: found one class only ('{layout.keys[0]}'), expected two or more, such as dog,cat")
    samples = []
    for label, (key, columns) in enumerate(zip(layout.keys, read_mat(path, layout.keys), strict=True)):
        samples += _mat_class(path, layout, key, label, columns)
    return Source(layout.keys, samples)


def _mat_class(path: Path, layout: MatLayout, key: str, label: int, columns: Pixels) -> list[Sample]:
    """The images of one variable, one per column."""
    rows, count = columns.shape
    if rows != layout.height * layout.width or not count:
        hint = "; its rows seem to be the images: transpose it" if count == layout.height * layout.width else ""
        raise DataError(
            f"{path}: variable '{key}' is {rows}x{count}, expected {layout.height * layout.width} rows "
            f"({layout.height}x{layout.width} pixels) and a column per image{hint}"
        )
    digits = max(2, len(str(count - 1)))
    return [
        Sample(f"{key}-{i:0{digits}d}", label, pixels=_gray_to_rgb(gray))
        for i, gray in enumerate(layout.images(columns))
    ]


def _gray_to_rgb(gray: Pixels) -> Pixels:
    return np.repeat(gray[:, :, np.newaxis], 3, axis=2)


def _folder(root: Path) -> Source:
    """One sub-folder per class; or `train/`, and `val/` or `test/` or both, each with one sub-folder per class.

    The classes are those of `train/`. The other parts may lack a class but can have none of their own.
    """
    names = [folder.name for folder in _sub_folders(root)]
    given = [part for part in PARTS if part in names]
    others = [name for name in names if name not in PARTS]
    if not given or (others and len(given) == 1):  # one class may well be called 'train'
        labels = _class_names(root)
        return Source(labels, _class_images(root, labels))
    if others:
        raise DataError(
            f"{root}: parts ({', '.join(given)}) beside other folders ({', '.join(others[:5])}); expected either only "
            "train, val and test, or one sub-folder per class"
        )
    if "train" not in given:
        raise DataError(f"{root}: {' and '.join(given)} without train; expected a sub-folder train")
    labels = _class_names(root / "train")
    for part in given[1:]:
        unknown = [folder.name for folder in _sub_folders(root / part) if folder.name not in labels]
        if unknown:
            raise DataError(
                f"{root / part / unknown[0]}: class '{unknown[0]}' is not in {root / 'train'}; expected the same names "
                "of classes, as nothing can be said of a class that was not trained on"
            )
    parts = {part: _class_images(root / part, labels) for part in given}
    return Source(labels, parts["train"], parts.get("val"), parts.get("test"))


def _sub_folders(root: Path) -> list[Path]:
    """Sub-folders in natural order of their names, hidden ones left out."""
    try:
        folders = [entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{root}: cannot be listed: {first_line(error)}") from error
    return sorted(folders, key=lambda folder: natural_key(folder.name))


def _class_names(root: Path) -> tuple[str, ...]:
    folders = _sub_folders(root)
    if not folders:
        raise DataError(f"{root}: no sub-folders; expected one sub-folder with images per class")
    if len(folders) == 1:
        raise DataError(f"{root}: one class only ('{folders[0].name}'); expected a sub-folder for each of two or more")
    for folder in folders:
        if not folder.name.strip() or not folder.name.isprintable():  # a name that is not Unicode is not printable
            raise DataError(f"{root}: found a class folder named {folder.name!r}, expected readable text; rename it")
    return tuple(folder.name for folder in folders)


def _class_images(root: Path, labels: Sequence[str]) -> list[Sample]:
    """All files below each class's sub-folder; a sub-folder that is there must not be empty."""
    samples = []
    for label, name in enumerate(labels):
        folder = root / name
        if not folder.is_dir():
            continue
        files = files_below(folder)
        if not files:
            raise DataError(f"{folder}: the class is empty; add images or remove the folder")
        samples += [Sample(str(path), label, path=path.absolute()) for path in files]
    return samples
