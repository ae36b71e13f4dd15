"""What `tl-infer` does with its options: open the model, classify or describe, and print."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from tl_infer.classifier import Classifier
from tl_infer.cli.console import EXIT_INTERRUPTED, EXIT_SOME_FAILED, EXIT_TERMINATED, printable
from tl_infer.cli.info import info_lines
from tl_infer.cli.inputs import is_one_file
from tl_infer.cli.interrupts import Stopped
from tl_infer.cli.job import Job, Outcome
from tl_infer.cli.options import Options
from tl_infer.cli.output.rows import Row
from tl_infer.cli.progress import Progress
from tl_infer.cli.table import tab_line, table_lines
from tl_infer.results import SelfTest
from tl_infer.sixteen_bit import depth_advice


def run(options: Options) -> int:
    """Do what the options say; the exit code.

    Raises:
        TlError: anything fatal.
        click.UsageError: `--top-k` asks for more classes than the model has, or `--sort-into` cannot be done with it.

    """
    if options.engine == "ray":
        from tl_infer.cli.cluster import run_on_ray  # here, because most runs do without

        return run_on_ray(options)
    classifier = _open(options)
    if not options.paths:
        return _describe(classifier, options)
    classes = len(classifier.labels)
    if options.top_k is not None and options.top_k > classes:
        raise click.BadParameter(f"found {options.top_k}, the model has {classes} classes.", param_hint="'--top-k'")
    if options.sort_into is not None and classifier.gives_several:
        raise click.UsageError(
            "--sort-into needs a model that gives one label; this one may give several, and an image has one place. "
            "Use --out FILE.csv, whose column 'labels' has them all."
        )
    return _classify(classifier, options)


def _open(options: Options) -> Classifier:
    return Classifier(
        options.model,
        threads=options.threads,
        providers=options.providers or None,
        sha256=options.sha256,
        limits=options.limits,
        for_many=bool(options.paths) and not is_one_file(options.paths),
    )


def _describe(classifier: Classifier, options: Options) -> int:
    if options.info:
        click.echo("\n".join(info_lines(classifier)))
    if options.self_test:
        found = classifier.self_test()
        click.echo(
            f"self-test passed: {found.samples} samples, largest difference {found.max_difference:.2g}, tolerance "
            f"{found.tolerance:.2g}{_of_familiarity(found)}"
        )
    return 0


def _of_familiarity(found: SelfTest) -> str:
    if found.max_familiarity_difference is None:
        return ""
    return f"; of the familiarity {found.max_familiarity_difference:.2g}, tolerance {found.familiarity_tolerance:.2g}"


def _classify(classifier: Classifier, options: Options) -> int:
    job = Job(classifier, options)
    # Rows on the same terminal would run into it, and short work is done before it is read.
    visible = (options.out is not None or not sys.stdout.isatty()) and (job.count is None or job.count >= 20)
    progress = Progress(sys.stderr, job.count, visible=visible)
    started = time.perf_counter()
    try:
        outcome = job.run(_printer(classifier.labels), progress.advance)
    except Stopped as stopped:  # before the first image
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
    total = "" if count is None else f" of {count}"
    before = tally.files - outcome.done
    earlier = f", {before} from before" if before else ""
    click.echo(f"{tally.files}{total} files{earlier}, {errors}, {outcome.done / seconds:.1f} images/s", err=True)
    if tally.files > 1:
        with contextlib.suppress(UnicodeEncodeError):
            click.echo("\n".join(tally.lines()), err=True)
    if out is not None:
        click.echo(f"Results: {printable(str(out))}", err=True)
    if outcome.stopped is not None:
        word = "Terminated" if outcome.stopped == signal.SIGTERM else "Interrupted"
        remedy = "; --resume continues" if out is not None else ""
        click.echo(f"{word}: the results end at the last file classified{remedy}.", err=True)
