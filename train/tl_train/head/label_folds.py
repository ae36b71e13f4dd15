"""Folds of images that may have several labels: each label is spread over them as evenly as the others allow."""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def label_folds(present: Bools, count: int, seed: int) -> Ints:
    """A fold 0..count-1 for each image, int (N,).

    The images of the rarest label are dealt out first, each to the fold that lacks most of that label.

    Args:
        present: bool (N, C), which labels each image has; it may have none.
        count: folds.
        seed: the same seed gives the same folds.

    Source: Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011.

    """
    order = np.random.default_rng(seed).permutation(len(present))
    fold_of: Ints = np.full(len(present), -1, np.int64)
    lacking = np.repeat(present.sum(axis=0)[np.newaxis] / count, count, axis=0)  # of each label, by fold
    room = np.full(count, len(present) / count)

    def put(image: int, fold: int) -> None:
        fold_of[image] = fold
        lacking[fold, present[image]] -= 1
        room[fold] -= 1

    while (remaining := present[fold_of < 0].sum(axis=0)).any():
        label = int(np.where(remaining > 0, remaining, len(present) + 1).argmin())
        for image in order[((fold_of < 0) & present[:, label])[order]]:
            put(image, int(np.lexsort((-room, -lacking[:, label]))[0]))
    for image in order[(fold_of < 0)[order]]:
        put(image, int(room.argmax()))
    return fold_of
