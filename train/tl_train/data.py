"""Where pictures come from and how they are split: built-in sets and folders -> samples."""

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tl_infer.errors import ImageError
from tl_infer.folder import files_below, natural_key, ordered_map
from tl_infer.images import Pixels, load_image
from tl_infer.session import available_threads
from tl_train.config import TrainConfig
from tl_train.downloads import RemoteFile, fetch
from tl_train.errors import DataError
from tl_train.progress import Progress

# Decoded pictures are kept in memory up to this many bytes in all; the others are decoded again for each use.
DECODED_CACHE_BYTES = 1 << 30

# The test pictures are the same for every seed, so that runs can be compared.
_TEST_SPLIT_SEED = 0

_PUBLISHED = "https://github.com/dynamicslab/databook_python/raw/refs/heads/master/DATA"
CATS_DOGS_FILES = {
    "dog": RemoteFile(f"{_PUBLISHED}/dogData.mat", "590d8a3681615b18c89ed21f387a76d2e55b9200b4a07b6fe6d68061ea76b6eb"),
    "cat": RemoteFile(f"{_PUBLISHED}/catData.mat", "ad2efb3ca83a3815b55d17973679a4fe7c719cf302e4a72d1df1b46d96e44ad4"),
}
BUILT_IN = ("cats-dogs", "digits")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One labelled picture.

    Attributes:
        name: unique in its data set; for a picture file its path.
        label: index into the data set's labels.
        path: the file, None for a picture that is not a file.
        pixels: uint8 (H, W, 3) when decoded already, else None.

    """

    name: str
    label: int
    path: Path | None = None
    pixels: Pixels | None = None

    def load(self) -> Pixels:
        """The picture: uint8 (H, W, 3).

        Raises:
            ImageError: the file cannot be read as a picture.

        """
        if self.pixels is not None:
            return self.pixels
        assert self.path is not None
        return load_image(self.path)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Samples in three disjoint parts.

    Attributes:
        labels: class names; a sample's label is an index into them.
        train: trained on.
        val: held back to watch the training; may be empty.
        test: used for nothing but the final figures; may be empty.

    """

    labels: tuple[str, ...]
    train: Sequence[Sample]
    val: Sequence[Sample]
    test: Sequence[Sample]

    def held_out(self) -> tuple[str, Sequence[Sample]]:
        """The part to report on, with its name: test pictures, or validation pictures when there are none."""
        return ("test", self.test) if self.test else ("val", self.val)


def load_dataset(config: TrainConfig, progress: Progress) -> Dataset:
    """Find, check and split the pictures of `config.data`.

    Every picture is decoded once, before the first training step, so a bad one is known at the start.

    Raises:
        DataError: no such data, no classes, an empty class, too few pictures, an unreadable picture (unless
            `config.skip_bad`, which leaves it out and says so).
        DownloadError: a built-in set could not be fetched.

    """
    if config.data == "cats-dogs":
        labels, train, test = _cats_dogs(progress)
    elif config.data == "digits":
        labels, train, test = _digits()
    else:
        labels, samples = _image_folder(Path(config.data))
        samples = _decoded(samples, config.skip_bad, progress)
        train, test = split(samples, labels, config.test_split, _TEST_SPLIT_SEED)
    train, val = split(train, labels, config.val_split, config.seed)
    return Dataset(labels, train, val, test)


def split(
    samples: Sequence[Sample], labels: Sequence[str], share: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Hold back a share of every class, at random.

    At least one picture of each class is held back (when `share` is not zero) and at least one stays.

    Args:
        samples: what to split; both parts keep its order.
        labels: class names, for the message.
        share: 0 to below 1.
        seed: the same seed holds back the same samples.

    Returns:
        The samples that stay, and those held back.

    Raises:
        DataError: a class has too few pictures.

    """
    generator = np.random.default_rng(seed)
    held_back: set[int] = set()
    for label, name in enumerate(labels):
        members = [i for i, sample in enumerate(samples) if sample.label == label]
        count = max(1, round(share * len(members))) if share else 0
        if count >= len(members):
            raise DataError(
                f"class '{name}': {len(members)} picture(s) left to split, expected at least {count + 1}; "
                "add pictures, or set --val-split or --test-split to 0"
            )
        held_back.update(int(i) for i in generator.permutation(members)[:count])
    kept = [sample for i, sample in enumerate(samples) if i not in held_back]
    return kept, [samples[i] for i in sorted(held_back)]


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 (hex) over the labels, and over part, label and pixels of every picture in order."""
    digest = hashlib.sha256(repr(dataset.labels).encode())
    for part, samples in (("train", dataset.train), ("val", dataset.val), ("test", dataset.test)):
        for sample in samples:
            pixels = sample.load()
            digest.update(f"{part} {sample.label} {pixels.shape}".encode())
            digest.update(pixels.tobytes())
    return digest.hexdigest()


def _cats_dogs(progress: Progress) -> tuple[tuple[str, ...], list[Sample], list[Sample]]:
    """The chapter's 80 dogs and 80 cats; first 40 of each to train, last 40 to test, dogs before cats."""
    import scipy.io

    train: list[Sample] = []
    test: list[Sample] = []
    for label, (name, remote) in enumerate(CATS_DOGS_FILES.items()):
        path = fetch(remote, progress, "train on the set that needs no download: tl-train digits --out DIR")
        # Safe to parse in this process: the checksum proved that it is the published file.
        columns = scipy.io.loadmat(path)[name]
        # Each column is a 64 x 64 grey picture, stored transposed.
        pictures = [_gray_to_rgb(columns[:, i].reshape(64, 64).T) for i in range(80)]
        samples = [Sample(f"{name}-{i:02d}", label, pixels=pixels) for i, pixels in enumerate(pictures)]
        train += samples[:40]
        test += samples[40:]
    return tuple(CATS_DOGS_FILES), train, test


def _digits() -> tuple[tuple[str, ...], list[Sample], list[Sample]]:
    """scikit-learn's 1797 scanned digits, 8 x 8 grey; a fifth of each class is the test set."""
    import sklearn.datasets

    digits = sklearn.datasets.load_digits()
    labels = tuple(str(name) for name in digits.target_names)
    grays = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # stored as 0..16
    samples = [
        Sample(f"digit-{i:04d}", int(label), pixels=_gray_to_rgb(gray))
        for i, (gray, label) in enumerate(zip(grays, digits.target, strict=True))
    ]
    return labels, *split(samples, labels, 0.2, _TEST_SPLIT_SEED)


def _gray_to_rgb(gray: Pixels) -> Pixels:
    return np.repeat(gray[:, :, np.newaxis], 3, axis=2)


def _image_folder(root: Path) -> tuple[tuple[str, ...], list[Sample]]:
    """One sub-folder per class, in natural order of the names; all files below it are its pictures."""
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
        folders = [Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError as error:
        found = "a file" if isinstance(error, NotADirectoryError) else f"{error.strerror}"
        found = "no such folder" if isinstance(error, FileNotFoundError) else found
        expected = f"a folder with one sub-folder per class, or {' or '.join(BUILT_IN)}"
        raise DataError(f"{root}: {found}; expected {expected}") from error
    folders.sort(key=lambda folder: natural_key(folder.name))
    if not folders:
        raise DataError(f"{root}: no sub-folders; expected one sub-folder with pictures per class")
    if len(folders) == 1:
        raise DataError(f"{root}: one class only ('{folders[0].name}'); expected a sub-folder for each of two or more")
    for folder in folders:
        if not folder.name.strip() or not folder.name.isprintable():  # a name that is not Unicode is not printable
            raise DataError(f"{root}: found a class folder named {folder.name!r}, expected readable text; rename it")
    samples = []
    for label, folder in enumerate(folders):
        files = files_below(folder)
        if not files:
            raise DataError(f"{folder}: the class is empty; add pictures or remove the folder")
        samples += [Sample(str(path), label, path=path.absolute()) for path in files]
    return tuple(folder.name for folder in folders), samples


def _decoded(samples: list[Sample], skip_bad: bool, progress: Progress) -> list[Sample]:
    """The samples whose picture can be decoded, with their pixels while these fit into the cache."""
    good: list[Sample] = []
    bad: list[ImageError] = []
    cached_bytes = 0
    results = ordered_map(_try_load, samples, available_threads())
    for sample, result in zip(samples, progress.steps(results, "Checking pictures", len(samples)), strict=True):
        if isinstance(result, ImageError):
            bad.append(result)
        elif cached_bytes + result.nbytes <= DECODED_CACHE_BYTES:
            cached_bytes += result.nbytes
            good.append(dataclasses.replace(sample, pixels=result))
        else:
            good.append(sample)
    if bad and not skip_bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise DataError(f"{bad[0]}{more}; repair or remove it, or leave such files out with --skip-bad")
    for error in bad:
        progress.note(f"Skipped: {error}")
    return good


def _try_load(sample: Sample) -> Pixels | ImageError:
    try:
        return sample.load()
    except ImageError as error:
        return error


def batches(order: Sequence[int], batch_size: int, smallest: int = 2) -> Iterator[Sequence[int]]:
    """Cut `order` into batches; a last one below `smallest` joins the one before, as batch normalisation needs two."""
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) - starts[-1] < smallest:
        starts.pop()
    for start, end in itertools.pairwise([*starts, len(order)]):
        yield order[start:end]
