"""Counting what was said, for the summary at the end."""

import collections
import dataclasses

from tl_infer.cli.rows import Row
from tl_infer.cli.safetext import printable

_MOST = 20  # lines; a model of a thousand classes must not fill the screen


@dataclasses.dataclass(slots=True)
class Tally:
    """Files per class, of which the model was unsure, and that failed."""

    labels: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    unsure: int = 0
    failed: int = 0

    @property
    def files(self) -> int:
        """All that were counted."""
        return self.labels.total() + self.unsure + self.failed

    def add(self, row: Row) -> None:
        """Count one file."""
        if row.error is not None:
            self.failed += 1
        elif row.label is None:
            self.unsure += 1
        else:
            self.labels[row.label] += 1

    def lines(self) -> list[str]:
        """A line per class, the most frequent first: name, number, share of all files."""
        counts = [(printable(label), count) for label, count in self.labels.most_common()]
        if len(counts) > _MOST:
            rest = counts[_MOST - 1 :]
            more = (f"({len(rest)} more classes)", sum(count for _, count in rest))
            counts = [*counts[: _MOST - 1], more]
        counts += [(name, count) for name, count in (("(unsure)", self.unsure), ("(error)", self.failed)) if count]
        width = max((len(name) for name, _ in counts), default=0)
        digits = len(f"{self.files:,}")
        return [f"  {name:<{width}}  {count:>{digits},}  {count / self.files:6.1%}" for name, count in counts]
