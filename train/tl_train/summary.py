"""What the program prints of a result, line by line; plain text."""

import shlex
from collections.abc import Iterator

from tl_infer.text.safetext import printable
from tl_train.evaluation.metrics import percent
from tl_train.run_folder.compared import table_lines
from tl_train.run_folder.result import TrainResult


def result_lines(result: TrainResult) -> Iterator[str]:
    """What was compared and measured, where the report is, and what comes next."""
    yield from table_lines(result.architectures) if result.architectures else ()
    yield from _label_lines(result)
    if (found := result.evaluation) is not None:
        between = f"95% interval {percent(found.interval.low)} to {percent(found.interval.high)}"
        counted = f"{found.correct} of {len(found.truth)}, {between}"
        yield f"{found.part.capitalize()} accuracy: {percent(found.accuracy, 2)} ({counted})"
    yield f"Report: {printable(str(result.out / 'report.html'))}"
    yield f"Next: tl-export {printable(shlex.quote(str(result.out)))}"


def _label_lines(result: TrainResult) -> Iterator[str]:
    """What was measured where images may have several labels."""
    found = None if result.several is None else result.several.evaluation
    if found is None:
        return
    values = {"mAP": found.mean_average_precision, "micro F1": found.micro_f1, "macro F1": found.macro_f1}
    shown = ", ".join(f"{name} {'-' if value is None else format(value, '.3f')}" for name, value in values.items())
    images = len(found.answers)
    yield f"{found.part.capitalize()} images: {shown}; all labels right on {found.exact_matches} of {images}"
