"""Batches: cutting an order of images into them."""

import itertools
from collections.abc import Iterator, Sequence


def batches(order: Sequence[int], batch_size: int, smallest: int = 2) -> Iterator[Sequence[int]]:
    """Cut `order` into batches; a last one below `smallest` joins the one before, as batch normalisation needs two."""
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) - starts[-1] < smallest:
        starts.pop()
    for start, end in itertools.pairwise([*starts, len(order)]):
        yield order[start:end]
