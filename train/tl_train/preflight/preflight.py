"""`preflight(dataset)`: what a look at the images tells before the first training step."""

import collections
import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tl_infer.errors import and_more
from tl_train.data.dataset import Dataset
from tl_train.data.looks import Looks
from tl_train.data.samples import PARTS, Sample
from tl_train.preflight.bit_depth import depth_warning
from tl_train.preflight.duplicates import exact_groups, near_groups
from tl_train.preflight.findings import Duplicates, PlacedImage, Preflight, Range
from tl_train.preflight.preflight_warnings import find_warnings

_NAMED = 3  # labels that a message names


def preflight(dataset: Dataset) -> Preflight:
    """What the looks of a data set's images tell."""
    placed = [(part, sample) for part in PARTS for sample in dataset.part(part)]
    looks = dataset.looks[[sample.row for _, sample in placed]]
    images = [PlacedImage(sample.name, part, _label_of(sample, dataset.labels)) for part, sample in placed]
    groups = [(group, True) for group in exact_groups(looks)] + [(group, False) for group in near_groups(looks)]
    gray = int(looks["is_gray"].sum())
    findings = Preflight(
        counts=_counts(dataset),
        broken=tuple(map(str, dataset.broken)),
        shorter_px=_range(np.minimum(looks["height"], looks["width"])),
        longer_px=_range(np.maximum(looks["height"], looks["width"])),
        gray=gray,
        color=len(looks) - gray,
        gray_shares=_gray_shares([sample for _, sample in placed], dataset.labels, looks),
        duplicates=tuple(Duplicates(tuple(images[i] for i in group), exact) for group, exact in groups),
    )
    depth = depth_warning([sample for _, sample in placed], looks)
    warnings = find_warnings(findings, {part: len(dataset.part(part)) for part in PARTS})
    return dataclasses.replace(findings, warnings=(*dataset.remarks, *depth, *warnings))


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    counted = {part: collections.Counter(itertools.chain.from_iterable(sample.present for sample in dataset.part(part)))
               for part in PARTS}  # fmt: skip
    return {part: {label: counted[part][i] for i, label in enumerate(dataset.labels)} for part in PARTS}


def _range(lengths: npt.NDArray[np.uint32]) -> Range:
    return Range(int(lengths.min()), float(np.median(lengths)), int(lengths.max()))


def _label_of(sample: Sample, labels: Sequence[str]) -> str:
    present = " | ".join(labels[place] for place in sample.present) or "no label"
    if sample.targets is None or np.isfinite(sample.targets).all():
        return present
    unknown = [labels[place] for place in np.flatnonzero(np.isnan(sample.targets)).tolist()]
    return f"{present}; unknown: {and_more(unknown, _NAMED)}"


def _gray_shares(samples: Sequence[Sample], labels: Sequence[str], looks: Looks) -> dict[str, float]:
    total: collections.Counter[int] = collections.Counter()
    gray: collections.Counter[int] = collections.Counter()
    for sample, is_gray in zip(samples, looks["is_gray"], strict=True):
        total.update(sample.present)
        gray.update(sample.present if is_gray else ())
    return {labels[place]: gray[place] / count for place, count in total.items()}
