"""A row of the results, whatever it is written to, and what a number of rows come to."""

import collections
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tl_infer.errors import ImageError
from tl_infer.results import Reason, Result, Score
from tl_infer.text.safetext import printable

_MAX_LINES = 20  # a model of a thousand classes must not fill the screen


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The result for one file.

    Attributes:
        path: as it was given or found.
        label: the most probable class; None when the model abstained, or failed on the file.
        labels: all that the image has, of a model that gives several; None of one that gives one, or for a failed file.
        probability: of the most probable class, 0..1, also when the model abstained; None for a failed file.
        top: the most probable classes, best first; empty for a failed file.
        abstained: the model gives no label.
        reason: why not; None where it gives one.
        familiarity: 0..1, of a model that tells it; else None.
        error: why there is no answer, or why the file is not where it should be; else None.
        ms: milliseconds that it took; None if nobody measured.
        sorted_to: the file that `--sort-into` made of it.
        heatmaps: the files that `--heatmaps` made of it, one for each label, or one.

    """

    path: str
    label: str | None = None
    labels: tuple[str, ...] | None = None
    probability: float | None = None
    top: Sequence[Score] = ()
    abstained: bool = False
    reason: Reason | None = None
    familiarity: float | None = None
    error: str | None = None
    ms: float | None = None
    sorted_to: str | None = None
    heatmaps: tuple[str, ...] = ()

    @property
    def heatmap(self) -> str | None:
        """The file that `--heatmaps` made of it, of a model that gives one label."""
        return self.heatmaps[0] if self.heatmaps else None


def make_row(path: str | Path, result: Result) -> Row:
    """The row of a file from its result in `Classifier.classify_many`."""
    if isinstance(result, ImageError):
        return Row(path=str(path), error=result.reason, ms=result.ms)
    return Row(
        path=str(path),
        label=result.label,
        labels=result.several,
        probability=result.probability,
        top=result.top,
        abstained=result.abstained,
        reason=result.reason,
        familiarity=result.familiarity,
        ms=result.ms,
    )


@dataclasses.dataclass(slots=True)
class Tally:
    """How many files got each label, on how many the model abstained, and how many failed.

    Attributes:
        files: all files counted.
        labels: files of each label; a file may have several.
        none: files that have no label, of a model that gives several.
        unsure, unfamiliar: files on which the model abstained.
        failed: files without an answer.

    """

    files: int = 0
    labels: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    none: int = 0
    unsure: int = 0
    unfamiliar: int = 0
    failed: int = 0

    def add(self, row: Row) -> None:
        """Count one file."""
        self.files += 1
        if row.error is not None:
            self.failed += 1
        elif row.reason == "unfamiliar":
            self.unfamiliar += 1
        elif row.labels is not None:
            self.labels.update(row.labels)
            self.none += not row.labels
        elif row.label is None:
            self.unsure += 1
        else:
            self.labels[row.label] += 1

    def lines(self) -> list[str]:
        """A line per class, the most frequent first: name, number, share of all files."""
        counts = [(printable(label), count) for label, count in self.labels.most_common()]
        if len(counts) > _MAX_LINES:
            rest = counts[_MAX_LINES - 1 :]
            more = (f"({len(rest)} more classes)", sum(count for _, count in rest))
            counts = [*counts[: _MAX_LINES - 1], more]
        others = (
            ("(none)", self.none), ("(unsure)", self.unsure), ("(unfamiliar)", self.unfamiliar),
            ("(error)", self.failed),
        )  # fmt: skip
        counts += [(name, count) for name, count in others if count]
        width = max((len(name) for name, _ in counts), default=0)
        digits = len(f"{self.files:,}")
        return [f"  {name:<{width}}  {count:>{digits},}  {count / self.files:6.1%}" for name, count in counts]
