"""What of a preflight's findings deserves a warning, and what to do about it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from tl_infer.errors import and_more
from tl_train.data.sources.class_names import appearance, differ_only_in_case_or_spaces, difference
from tl_train.data.sources.parts import part_named
from tl_train.preflight.findings import Duplicates, Preflight

# Below these, a figure says little; above these, a difference between classes is worth knowing.
MIN_TRAIN_IMAGES = 10
MIN_HELD_OUT_IMAGES = 30
MAX_IMBALANCE = 5
MAX_GRAY_DIFFERENCE = 0.5

_MAX_EXAMPLES = 3
_NUMBER = re.compile(r"\d+(\.\d+)?")
_MISSING = ("nan", "<na>", "null", "n/a", "#n/a")  # as tables write that there is no value


def find_warnings(found: Preflight, images: Mapping[str, int]) -> Iterator[str]:
    """The warnings, the gravest first; `images` is how many each part has, whatever labels they have."""
    yield from _duplicates(found.duplicates)
    yield from _broken(found)
    yield from _labels(list(found.counts["train"]))
    yield from _missing_classes(found)
    yield from _few(found, images)
    yield from _imbalance(found)
    yield from _gray(found)


def _duplicates(groups: Sequence[Duplicates]) -> Iterator[str]:
    for exact, what in ((True, "exact duplicates"), (False, "near duplicates")):
        kind = [group for group in groups if group.exact == exact]
        across_parts = [group for group in kind if group.crosses_parts]
        if across_parts:
            yield (
                f"{what} in different parts, {_shown(across_parts)}: the accuracy is too high on images that were also "
                "trained on; remove the copies, or keep them together with a CSV column 'group'"
            )
        across_labels = [group for group in kind if group.crosses_labels]
        if across_labels:
            yield f"{what} with different labels, {_shown(across_labels)}: decide which label is right"
        rest = [group for group in kind if not group.crosses_parts and not group.crosses_labels]
        if rest:
            yield f"{what} within one part and class, {_shown(rest)}: they count more than once; remove unwanted copies"


def _shown(groups: Sequence[Duplicates]) -> str:
    """Number of groups and the first of them."""
    first = list(map(str, groups[0].pictures))
    return f"{len(groups)} group(s), first {and_more(first, _MAX_EXAMPLES, ' = ')}"


def _broken(found: Preflight) -> Iterator[str]:
    if found.broken:
        yield (
            f"{len(found.broken)} image(s) cannot be read, first {found.broken[0]}: fix or remove them; training "
            "stops at them unless --skip-bad leaves them out"
        )


def _labels(labels: Sequence[str]) -> Iterator[str]:
    for label in labels:
        if part_named(label):
            yield (
                f"a class is named '{label}': for parts of the data use sub-folders train, val and test, each with "
                "one sub-folder per class, and nothing beside them"
            )
        if label.casefold() in _MISSING:
            yield f"a class is named '{label}', as tables say that a value is missing: label its images or remove them"
    seen: dict[str | float, str] = {}
    told: set[str] = set()
    for label in labels:
        other = seen.setdefault(float(label) if _NUMBER.fullmatch(label) else appearance(label), label)
        if other != label:
            told |= {label, other}
            yield f"classes {other!r} and {label!r} {_how_alike(other, label)}: give one class one name"
    if spaced := [label for label in labels if label != label.strip() and label not in told]:
        yield (
            f"{len(spaced)} class name(s) with spaces around them, first {spaced[0]!r}: the model's labels will have "
            "them, too; remove them from the list or the folder's name"
        )


def _how_alike(first: str, second: str) -> str:
    if _NUMBER.fullmatch(first):
        return "are the same number"
    if differ_only_in_case_or_spaces(first, second):
        return "differ only in case or spaces"
    return f"look the same, but differ: {difference(first, second)}"


def _missing_classes(found: Preflight) -> Iterator[str]:
    has_test = any(found.counts["test"].values())
    for part in ("val", "test"):
        absent = [label for label, count in found.counts[part].items() if not count]
        if absent and len(absent) < len(found.counts[part]):
            lacking = "no epoch's figures show it" if part == "val" and has_test else "its accuracy is unknown"
            yield f"no {part} images of class '{absent[0]}' ({len(absent)} such): {lacking}; add some"


def _few(found: Preflight, images: Mapping[str, int]) -> Iterator[str]:
    few = {label: count for label, count in found.counts["train"].items() if count < MIN_TRAIN_IMAGES}
    if few:
        label = min(few, key=lambda name: few[name])
        yield (
            f"{len(few)} class(es) with fewer than {MIN_TRAIN_IMAGES} training images, '{label}' has {few[label]}: "
            "add images"
        )
    test = images["test"]
    if not test:
        measured = "the accuracy is that of the validation images, which are monitored during training"
        consequence = measured if images["val"] else "there is no accuracy"
        yield f"no test images, so {consequence}: set --test-split above 0, or add test images"
    elif test < MIN_HELD_OUT_IMAGES:
        only = f"only {test} test image{'s' * (test != 1)}"
        yield f"{only}: each moves the accuracy by {100 / test:.0f} percentage points; add some"


def _imbalance(found: Preflight) -> Iterator[str]:
    counts = found.counts["train"]
    by_count: Callable[[str], int] = counts.__getitem__
    least, most = min(counts, key=by_count), max(counts, key=by_count)
    if counts[most] >= MAX_IMBALANCE * counts[least]:
        yield (
            f"class '{most}' has {counts[most]} training images, '{least}' {counts[least]}: the accuracy hides how "
            "the small classes fare; look at the metrics per class, and add images to the small ones"
        )


def _gray(found: Preflight) -> Iterator[str]:
    shares = found.gray_shares
    least, most = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    if shares[most] - shares[least] >= MAX_GRAY_DIFFERENCE:
        yield (
            f"{shares[most]:.0%} of class '{most}' is grey, {shares[least]:.0%} of '{least}': colour alone tells them "
            "apart, a shortcut that new images may not offer; remove it with --color gray"
        )
