"""`preflight(dataset)`: what a look at the images tells before the first training step."""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tl_train.data.dataset import Dataset
from tl_train.data.looks import Looks
from tl_train.data.samples import PARTS
from tl_train.preflight.bit_depth import depth_warning
from tl_train.preflight.duplicates import exact_groups, near_groups
from tl_train.preflight.findings import Duplicates, PlacedImage, Preflight, Range
from tl_train.preflight.preflight_warnings import find_warnings


def preflight(dataset: Dataset) -> Preflight:
    """What the looks of a data set's images tell."""
    placed = [(part, sample) for part in PARTS for sample in dataset.part(part)]
    looks = dataset.looks[[sample.row for _, sample in placed]]
    images = [PlacedImage(sample.name, part, dataset.labels[sample.label]) for part, sample in placed]
    groups = [(group, True) for group in exact_groups(looks)] + [(group, False) for group in near_groups(looks)]
    gray = int(looks["is_gray"].sum())
    findings = Preflight(
        counts=_counts(dataset),
        broken=tuple(map(str, dataset.broken)),
        shorter_px=_range(np.minimum(looks["height"], looks["width"])),
        longer_px=_range(np.maximum(looks["height"], looks["width"])),
        gray=gray,
        color=len(looks) - gray,
        gray_shares=_gray_shares(images, looks),
        duplicates=tuple(Duplicates(tuple(images[i] for i in group), exact) for group, exact in groups),
    )
    depth = depth_warning([sample for _, sample in placed], looks)
    return dataclasses.replace(findings, warnings=(*dataset.remarks, *depth, *find_warnings(findings)))


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    counted = {part: collections.Counter(sample.label for sample in dataset.part(part)) for part in PARTS}
    return {part: {label: counted[part][i] for i, label in enumerate(dataset.labels)} for part in PARTS}


def _range(lengths: npt.NDArray[np.uint32]) -> Range:
    return Range(int(lengths.min()), float(np.median(lengths)), int(lengths.max()))


def _gray_shares(images: Sequence[PlacedImage], looks: Looks) -> dict[str, float]:
    total = collections.Counter(image.label for image in images)
    gray = collections.Counter(image.label for image, is_gray in zip(images, looks["is_gray"], strict=True) if is_gray)
    return {label: gray[label] / count for label, count in total.items()}
