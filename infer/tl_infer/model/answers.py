"""Whether what a model answered is an answer: the contract's shapes and ranges, for every image.

A graph can declare one thing and give another, or give it for images of one size only.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from tl_infer.model.contract import EMBEDDING, FAMILIARITY, HEATMAP, LOGITS, PROBABILITIES

_RANKS: Final = {PROBABILITIES: 2, LOGITS: 2, EMBEDDING: 2, HEATMAP: 4, FAMILIARITY: 1}
_SUM_TOLERANCE: Final = 1e-3


def wrong_answer(name: str, values: npt.NDArray[np.float32], images: int, columns: int | None) -> str | None:
    """What is wrong with an output, to follow its name; None if nothing.

    Args:
        name: of the output; of one that the contract does not know, only the values are looked at.
        values: as the model gave them.
        images: how many there were.
        columns: how many each image has; None if that is not known yet.

    """
    if name in _RANKS:
        shape_fits = values.ndim == _RANKS[name] and len(values) == images and values.size > 0
        if not shape_fits or (columns is not None and columns != values.shape[1]):
            return (
                f"has shape {values.shape} for {images} image{'' if images == 1 else 's'} and "
                f"{'any' if columns is None else columns} columns; export the model again with tl-export"
            )
    if not np.isfinite(values).all():
        return "has values that are not finite numbers"
    if name == PROBABILITIES:
        sums = values.sum(axis=1)
        if values.min() < 0 or values.max() > 1 + _SUM_TOLERANCE or abs(sums - 1).max() > _SUM_TOLERANCE:
            return "does not hold probabilities that sum to 1"
    if name == FAMILIARITY and (values.min() < 0 or values.max() > 1):
        return "does not hold shares, 0 to 1"
    return None
