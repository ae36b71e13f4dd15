"""Images that show the same: equal pixels by checksum, nearly equal ones by a perceptual hash and a thumbnail."""

import numpy as np
import numpy.typing as npt

from tl_train.data.looks import Looks
from tl_train.preflight.look_alikes import contrasts, look_alikes

# Smaller images have too little in them to tell a copy from another image of the same kind.
MIN_NEAR_SIDE_PX = 32
_MIN_CONTRAST = 1  # grey levels of 255; below, an image is uniform but for noise


def exact_groups(looks: Looks) -> list[list[int]]:
    """Indices of images with equal pixels, two or more in each group, in order."""
    by_checksum: dict[bytes, list[int]] = {}
    for i, checksum in enumerate(looks["checksum"]):
        by_checksum.setdefault(checksum.tobytes(), []).append(i)
    return [group for group in by_checksum.values() if len(group) > 1]


def near_groups(looks: Looks) -> list[list[int]]:
    """Indices of images that look nearly the same but are not equal, two or more in each group, in order.

    A group is what near pairs connect, so its first and last image may differ by more than a pair does. Of images with
    equal pixels only the first takes part; those too small or too uniform to compare take none.
    """
    members = _comparable(looks)
    groups = look_alikes(looks["thumbnail"][members], looks["dhash"][members])
    return [members[group].tolist() for group in groups]


def _comparable(looks: Looks) -> npt.NDArray[np.intp]:
    """Indices of the images that are compared, ascending."""
    _, first = np.unique(looks["checksum"], return_index=True)
    large = np.sort(first[np.minimum(looks["height"], looks["width"])[first] >= MIN_NEAR_SIDE_PX])
    members: npt.NDArray[np.intp] = large[contrasts(looks["thumbnail"][large]) >= _MIN_CONTRAST]
    return members
