"""Class folders that share images: one that lies in several folders, byte for byte, has the labels of all of them."""

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from tl_infer.errors import ImageError
from tl_train.data.samples import Sample, Source
from tl_train.progress import Progress


def with_all_labels(source: Source, progress: Progress) -> Source:
    """The images of class folders, each once, with the labels of all folders of its part that it lies in.

    A label whose folder an image does not lie in is absent.

    Args:
        source: as `read_folder` finds it, a sample for each file.
        progress: shows the comparing, and gets a note of what was found.

    """
    parts = {"train": source.train, "val": source.val, "test": source.test}
    merged = {name: None if part is None else _merged(part, len(source.labels), progress)
              for name, part in parts.items()}  # fmt: skip
    images = [sample for part in merged.values() for sample in part or ()]
    files = sum(len(part or ()) for part in parts.values())
    several = sum(len(sample.present) > 1 for sample in images)
    progress.note(f"{len(images)} different images in {files} files; {several} of them lie in several class folders")
    alone = (
        "no image lies in more than one class folder, so each has one label; to give an image several, put a copy into "
        "the folder of each, or leave out --multi-label"
    )
    remarks = source.remarks if several else (*source.remarks, alone)
    train = merged["train"]
    assert train is not None
    return dataclasses.replace(source, train=train, val=merged["val"], test=merged["test"], remarks=remarks)


def _merged(samples: Sequence[Sample], classes: int, progress: Progress) -> list[Sample]:
    """One sample for all copies of an image, under the name of the first."""
    copies: dict[object, list[Sample]] = {}
    for sample, key in zip(samples, _keys(samples, progress), strict=True):
        copies.setdefault(key, []).append(sample)
    return [dataclasses.replace(same[0], label=-1, targets=_targets(same, classes)) for same in copies.values()]


def _keys(samples: Sequence[Sample], progress: Progress) -> Iterable[object]:
    """What is the same for copies; files of a size that no other has are not read."""
    sizes = [_size(sample) for sample in samples]
    counted = collections.Counter(sizes)
    for sample, size in zip(progress.steps(samples, "Comparing files", len(samples)), sizes, strict=True):
        yield sample.name if counted[size] == 1 else _digest(sample)


def _size(sample: Sample) -> int:
    assert sample.path is not None
    try:
        return sample.path.stat().st_size
    except OSError:  # reading it will say what is wrong
        return -1


def _digest(sample: Sample) -> object:
    try:
        return hashlib.blake2b(sample.content(), digest_size=32).digest()
    except ImageError:
        return sample.name


def _targets(copies: Iterable[Sample], classes: int) -> np.ndarray:
    targets = np.zeros(classes, np.float32)
    targets[[copy.label for copy in copies]] = 1
    return targets
