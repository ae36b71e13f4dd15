"""Holding back a share of the images: stratified by class, at random from a seed, whole groups together.

An image with several labels counts in each of its classes; those without any are as many in both parts, too.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tl_train.data.samples import Sample, labels_of
from tl_train.errors import DataError

# The test images are the same for every seed, so that runs can be compared.
TEST_SPLIT_SEED = 0


def split(
    samples: Sequence[Sample], labels: Sequence[str], share: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Hold back a share of every class, at random.

    At least one image of each class is held back (when `share` is not zero) and at least one stays. A group is
    never divided; the shares are then as near to `share` as a random choice of whole groups comes.

    Args:
        samples: what to split; both parts keep its order.
        labels: class names, for the message.
        share: 0 to below 1.
        seed: the same seed holds back the same samples.

    Returns:
        The samples that stay, and those held back.

    Raises:
        DataError: a class has too few images, or too few groups.

    """
    generator = np.random.default_rng(seed)
    has_several = any(sample.targets is not None for sample in samples)
    if has_several and not share:
        return list(samples), []
    if share and (has_several or any(sample.group is not None for sample in samples)):
        held_back = _whole_groups(samples, labels, share, generator)
    else:
        held_back = _single_images(samples, labels, share, generator)
    kept = [sample for i, sample in enumerate(samples) if i not in held_back]
    return kept, [samples[i] for i in sorted(held_back)]


def _single_images(
    samples: Sequence[Sample], labels: Sequence[str], share: float, generator: np.random.Generator
) -> set[int]:
    label_of, held_back = labels_of(samples), set[int]()
    for label, name in enumerate(labels):
        members = np.flatnonzero(label_of == label)
        count = _count(share, len(members)) if share else 0
        if count >= len(members):
            raise DataError(
                f"class '{name}': {len(members)} image(s) left to split, expected at least {count + 1}; "
                "add images, or set --val-split or --test-split to 0"
            )
        held_back.update(generator.permutation(members)[:count].tolist())
    return held_back


def _whole_groups(
    samples: Sequence[Sample], labels: Sequence[str], share: float, generator: np.random.Generator
) -> set[int]:
    """Take groups in random order while each brings the counts of its classes nearer to the wanted ones."""
    groups = _groups(samples)
    sizes = np.array([_counts([samples[i] for i in group], len(labels)) for group in groups])
    total = sizes.sum(axis=0)
    wanted = np.array([_count(share, int(count)) if count else 0 for count in total])
    order = generator.permutation(len(groups))
    chosen: list[int] = []
    held = np.zeros_like(total)
    for group in order:
        nearer = np.abs(held + sizes[group] - wanted).sum() < np.abs(held - wanted).sum()
        if nearer and _leaves_some(total - held, sizes[group]):
            chosen.append(int(group))
            held += sizes[group]
    for label, name in enumerate(labels):
        if held[label]:
            continue
        # The class has only large groups: the one that brings the fewest images too many.
        candidates = [group for group in order if sizes[group, label] and _leaves_some(total - held, sizes[group])]
        if not candidates:
            raise DataError(
                f"class '{name}': {total[label]} image(s){_in_groups(samples, sizes[:, label])} left to split; add "
                "images of it, say in the CSV's column 'split' which image goes where, or set --val-split or "
                "--test-split to 0"
            )
        best = min(candidates, key=lambda group: int(np.abs(held + sizes[group] - wanted).sum()))
        chosen.append(int(best))
        held += sizes[best]
    return {i for group in chosen for i in groups[group]}


def _in_groups(samples: Sequence[Sample], sizes: npt.NDArray[np.int64]) -> str:
    """In how many groups the images of a class are, where groups are why they cannot be split; "" otherwise."""
    if all(sample.group is None for sample in samples):
        return ""
    return f" in {np.count_nonzero(sizes)} group(s), which are never divided,"


def _counts(samples: Sequence[Sample], classes: int) -> npt.NDArray[np.int64]:
    """Images of each class, and in the last place those of none: int (C + 1,)."""
    places = [place for sample in samples for place in sample.present or (classes,)]
    return np.bincount(places, minlength=classes + 1).astype(np.int64)


def _groups(samples: Sequence[Sample]) -> list[list[int]]:
    """Indices of the samples, group by group; an image without a group is one by itself."""
    named: dict[str, list[int]] = {}
    groups: list[list[int]] = []
    for i, sample in enumerate(samples):
        if sample.group is None:
            groups.append([i])
        elif sample.group in named:
            named[sample.group].append(i)
        else:
            named[sample.group] = [i]
            groups.append(named[sample.group])
    return groups


def _leaves_some(left: npt.NDArray[np.int64], size: npt.NDArray[np.int64]) -> bool:
    """Whether every class of the group still has an image to train on without it."""
    return bool(np.all((left > size) | (size == 0)))


def _count(share: float, members: int) -> int:
    return max(1, round(share * members))
