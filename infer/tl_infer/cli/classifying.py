"""What `tl-infer` does once the model is open: classify the files, and print."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from tl_infer.classifier import Classifier
from tl_infer.cli.console import EXIT_INTERRUPTED, EXIT_SOME_FAILED, EXIT_TERMINATED
from tl_infer.cli.interrupts import Stopped
from tl_infer.cli.job import Job, Outcome
from tl_infer.cli.options import Options
from tl_infer.cli.output.rows import Row
from tl_infer.cli.progress import Progress
from tl_infer.cli.table import tab_line, table_lines
from tl_infer.sixteen_bit import depth_advice
from tl_infer.text.safetext import printable


def classify(classifier: Classifier, options: Options) -> int:
    """Classify all files, and print rows, progress and a summary; the exit code.

    Raises:
        TlError: anything fatal.
        click.UsageError: `--sort-into` cannot be done with the model.

    """
    job = Job(classifier, options)
    # Rows on the same terminal would run into it, and short work is done before it is read.
    visible = (options.out is not None or not sys.stdout.isatty()) and (job.count is None or job.count >= 20)
    progress = Progress(sys.stderr, job.count, visible=visible)
    started = time.perf_counter()
    try:
        outcome = job.run(_printer(classifier.labels), progress.advance)
    except Stopped as stopped:  # before the first image
        click.echo(f"{_word(stopped.signal)}.", err=True)
        return _exit_code(stopped.signal)
    finally:
        progress.close()
    if advice := depth_advice(classifier.sixteen_bit_images):
        click.echo(f"Warning: {advice}", err=True)
    _summarise(job.count, outcome, time.perf_counter() - started, options.out)
    if outcome.stopped is not None:
        return _exit_code(outcome.stopped)
    return EXIT_SOME_FAILED if outcome.tally.failed else 0


def _exit_code(number: int) -> int:
    return EXIT_TERMINATED if number == signal.SIGTERM else EXIT_INTERRUPTED


def _word(number: int) -> str:
    return "Terminated" if number == signal.SIGTERM else "Interrupted"


def _printer(labels: tuple[str, ...]) -> Callable[[Row], None]:
    """A table on a terminal, tabs in a pipe."""
    if not sys.stdout.isatty():
        return lambda row: click.echo(tab_line(row))
    colored = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    import shutil  # here, because a pipe does without

    def show(row: Row) -> None:
        text = "\n".join(table_lines(row, labels, shutil.get_terminal_size().columns))
        color = "red" if row.error else "yellow" if row.abstained else None
        if colored and color:
            click.secho(text, fg=color)
        else:
            click.echo(text)  # secho would end the line with a code even without a colour

    return show


def _summarise(count: int | None, outcome: Outcome, seconds: float, out: Path | None) -> None:
    tally = outcome.tally
    errors = f"{tally.failed} error{'' if tally.failed == 1 else 's'}"
    # A run that is continued also has rows of files that are no longer there, as they were moved.
    total = "" if count is None or count < tally.files else f" of {count}"
    before = tally.files - outcome.done
    earlier = f", {before} from before" if before else ""
    click.echo(f"{tally.files}{total} files{earlier}, {errors}, {outcome.done / seconds:.1f} images/s", err=True)
    if tally.files > 1:
        with contextlib.suppress(UnicodeEncodeError):
            click.echo("\n".join(tally.lines()), err=True)
    if out is not None:
        click.echo(f"Results: {printable(str(out))}", err=True)
        if outcome.failed_before:
            rows = "1 error is" if outcome.failed_before == 1 else f"{outcome.failed_before} errors are"
            click.echo(f"{rows} from before, not tried again; to try again, delete the rows.", err=True)
    if outcome.stopped is not None:
        remedy = "; --resume continues" if out is not None else ""
        click.echo(f"{_word(outcome.stopped)}: the results end at the last file classified{remedy}.", err=True)
