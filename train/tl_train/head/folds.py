"""Folds for cross-validation: every class or label spread over them as evenly as can be, whole groups together.

The images of one group, as of one animal or one day, know of each other: a head that has seen one of them does better
on the others than on anything new.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedKFold

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Folding:
    """How images are divided into folds.

    A class or label whose images all belong to one group is not held out whole, since nothing would be left to learn it
    from: its images are divided as if they were no group.

    Attributes:
        seed: the same seed gives the same folds.
        groups: int (N,), the group of each image; None where each is one by itself.

    """

    seed: int
    groups: Ints | None = None

    def chosen(self, which: Ints | Bools) -> "Folding":
        """Of some of the images."""
        return self if self.groups is None else dataclasses.replace(self, groups=self.groups[which])

    def most(self, labels: Ints) -> int:
        """The most folds that images of these classes, int (N,), can be divided into."""
        if self.groups is None:
            return int(np.bincount(labels).min())
        return int(self._units(_one_hot(labels)).max()) + 1

    def of_classes(self, labels: Ints, count: int) -> Ints:
        """A fold 0..count-1 for each image, int (N,).

        Args:
            labels: int (N,), the class of each image.
            count: folds; at most `most`.

        """
        if self.groups is not None:
            return self.of_labels(_one_hot(labels), count)
        assigned = np.empty(len(labels), dtype=np.int64)
        splitter = StratifiedKFold(count, shuffle=True, random_state=self.seed)
        for fold, (_, held_out) in enumerate(splitter.split(labels, labels)):
            assigned[held_out] = fold
        return assigned

    def of_labels(self, present: Bools, count: int) -> Ints:
        """A fold for each image, int (N,): 0..count-1, or fewer where there are fewer groups.

        The groups with the rarest label are dealt out first, the largest before the others, each to the fold that lacks
        most of that label.

        Args:
            present: bool (N, C), which labels each image has; it may have none.
            count: folds.

        Source: Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011.

        """
        unit_of = self._units(present)
        sizes = np.bincount(unit_of)
        having: Ints = np.zeros((len(sizes), present.shape[1]), np.int64)
        np.add.at(having, unit_of, present)
        order = np.random.default_rng(self.seed).permutation(len(sizes))
        order = order[np.argsort(-sizes[order], kind="stable")]
        return _dealt_out(having, sizes, order, min(count, len(sizes)))[unit_of]

    def _units(self, present: Bools) -> Ints:
        """What is never divided, by number: int (N,), the group of each image, or the image itself."""
        images = np.arange(len(present))
        if self.groups is None:
            return images
        alone = np.array([len(np.unique(self.groups[having])) == 1 for having in present.T])
        divided = present[:, alone].any(axis=1)
        units: Ints = np.unique(np.where(divided, self.groups.max() + 1 + images, self.groups), return_inverse=True)[1]
        return units


def _one_hot(labels: Ints) -> Bools:
    present: Bools = labels[:, np.newaxis] == np.arange(labels.max() + 1)
    return present


def _dealt_out(having: Ints, sizes: Ints, order: Ints, count: int) -> Ints:
    """A fold for each unit, int (U,), by the images of it that have each label, int (U, C), and its size, int (U,)."""
    fold_of: Ints = np.full(len(having), -1, np.int64)
    lacking = np.repeat(having.sum(axis=0)[np.newaxis] / count, count, axis=0)  # of each label, by fold
    room = np.full(count, sizes.sum() / count)

    def put(unit: int, fold: int) -> None:
        fold_of[unit] = fold
        lacking[fold] -= having[unit]
        room[fold] -= sizes[unit]

    while (remaining := having[fold_of < 0].sum(axis=0)).any():
        label = int(np.where(remaining > 0, remaining, sizes.sum() + 1).argmin())
        for unit in order[((fold_of < 0) & (having[:, label] > 0))[order]]:
            put(unit, int(np.lexsort((-room, -lacking[:, label]))[0]))
    for unit in order[(fold_of < 0)[order]]:
        put(unit, int(room.argmax()))
    return fold_of
