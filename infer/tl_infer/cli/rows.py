"""A row of the results: what is said of one file, whatever it is written to."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tl_infer.errors import ImageError
from tl_infer.results import Classification, Score


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is said of one file.

    Attributes:
        path: as it was given or found.
        label: the most probable class; None when the model abstained, or failed on the file.
        probability: of the most probable class, 0..1, also when the model abstained; None for a failed file.
        top: the most probable classes, best first; empty for a failed file.
        abstained: the probability is below the threshold.
        error: why there is no answer, or why the file is not where it should be; else None.
        ms: milliseconds that it took; None where nobody measured.
        sorted_to: the file that `--sort-into` made of it.
        heatmap: the file that `--heatmaps` made of it.

    """

    path: str
    label: str | None = None
    probability: float | None = None
    top: Sequence[Score] = ()
    abstained: bool = False
    error: str | None = None
    ms: float | None = None
    sorted_to: str | None = None
    heatmap: str | None = None


def make_row(path: str | Path, result: Classification | ImageError) -> Row:
    """The row of a file and what `Classifier.classify_many` said of it."""
    if isinstance(result, ImageError):
        return Row(path=str(path), error=result.reason, ms=result.ms)
    return Row(
        path=str(path),
        label=result.label,
        probability=result.probability,
        top=result.top,
        abstained=result.abstained,
        ms=result.ms,
    )
