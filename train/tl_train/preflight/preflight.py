"""`preflight(dataset)`: what a look at the images tells before the first training step; changes nothing."""

import collections
import dataclasses
import statistics
from collections.abc import Sequence

from tl_infer.errors import ImageError
from tl_infer.system.parallel import available_threads, ordered_map
from tl_train.data.dataset import Dataset
from tl_train.data.samples import PARTS, Sample
from tl_train.errors import DataError
from tl_train.preflight.duplicates import Look, exact_groups, look_at, near_groups
from tl_train.preflight.findings import Duplicates, PlacedImage, Preflight, Range
from tl_train.preflight.preflight_warnings import find_warnings
from tl_train.progress import Progress


def preflight(dataset: Dataset, progress: Progress | None = None) -> Preflight:
    """Look at every image of a data set.

    Raises:
        DataError: an image that could be read before cannot any more.

    """
    placed = [(part, sample) for part in PARTS for sample in _samples(dataset, part)]
    looks = _look_at_all([sample for _, sample in placed], progress or Progress())
    images = [PlacedImage(sample.name, part, dataset.labels[sample.label]) for part, sample in placed]
    groups = [(group, True) for group in exact_groups(looks)] + [(group, False) for group in near_groups(looks)]
    findings = Preflight(
        counts=_counts(dataset),
        broken=tuple(map(str, dataset.broken)),
        shorter_px=_range([min(look.height, look.width) for look in looks]),
        longer_px=_range([max(look.height, look.width) for look in looks]),
        gray=sum(look.is_gray for look in looks),
        color=sum(not look.is_gray for look in looks),
        gray_shares=_gray_shares(images, looks),
        duplicates=tuple(Duplicates(tuple(images[i] for i in group), exact) for group, exact in groups),
    )
    return dataclasses.replace(findings, warnings=tuple(find_warnings(findings)))


def _samples(dataset: Dataset, part: str) -> Sequence[Sample]:
    return {"train": dataset.train, "val": dataset.val, "test": dataset.test}[part]


def _look_at_all(samples: Sequence[Sample], progress: Progress) -> list[Look]:
    looks = ordered_map(lambda sample: look_at(sample.load()), samples, available_threads())
    try:
        return list(progress.steps(looks, "Looking for duplicates", len(samples)))
    except ImageError as error:
        raise DataError(f"{error}; it could be read a moment ago, so do not change the data while they are read") from (
            error
        )


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    counted = {part: collections.Counter(sample.label for sample in _samples(dataset, part)) for part in PARTS}
    return {part: {label: counted[part][i] for i, label in enumerate(dataset.labels)} for part in PARTS}


def _range(lengths: Sequence[int]) -> Range:
    return Range(min(lengths), float(statistics.median(lengths)), max(lengths))


def _gray_shares(images: Sequence[PlacedImage], looks: Sequence[Look]) -> dict[str, float]:
    total = collections.Counter(image.label for image in images)
    gray = collections.Counter(image.label for image, look in zip(images, looks, strict=True) if look.is_gray)
    return {label: gray[label] / count for label, count in total.items()}
