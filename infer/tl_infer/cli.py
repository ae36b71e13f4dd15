"""The program `tl-infer`."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tl_infer.console import EXIT_INTERRUPTED, EXIT_SOME_FAILED, printable, run_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tl_infer.classifier import Classifier
    from tl_infer.errors import ImageError
    from tl_infer.results import Classification
    from tl_infer.writers import RowWriter

_EPILOG = """\b
Exit codes: 0 all classified, 1 fatal, 2 wrong usage, 3 some files could not be read, 130 interrupted.

\b
Examples:
  tl-infer model.onnx photo.jpg
  tl-infer model.onnx photos/ --out results.csv
  tl-infer model.onnx photos/ --out results.jsonl --top-k 3
"""


def _check_out(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() not in (".csv", ".jsonl"):
        raise click.BadParameter(f"{value}: the name must end in .csv or .jsonl.")
    return value


def _check_named(_context: click.Context, _parameter: click.Parameter, value: tuple[Path, ...]) -> tuple[Path, ...]:
    """An empty argument is an unset variable of the shell; as a path it would be the current folder."""
    if any(str(path) == "." and not path.name for path in value) and "" in sys.argv[1:]:
        raise click.BadParameter("an empty path was given; to classify the current folder give '.'.")
    return value


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tl-toolkit", prog_name="tl-infer")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path),
                callback=_check_named)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), callback=_check_out,
              help="Write results to FILE.csv or FILE.jsonl instead of the terminal.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an existing --out.")
@click.option("--top-k", type=click.IntRange(min=1), default=1, show_default=True,
              help="How many classes to name for each picture.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 1024), default=None,
              help="Processors to use.  [default: all]")  # fmt: skip
def command(
    model: Path, paths: tuple[Path, ...], out: Path | None, overwrite: bool, top_k: int, threads: int | None
) -> int:
    """Classify pictures with MODEL, a file made by tl-export.

    Each PATH is a picture or a folder; folders are read with all their sub-folders, in natural order, names that
    begin with a dot skipped. Every file gives one row; a file that is no picture gives a row with the error, and
    the others go on. Results go to standard output or to --out, progress and the summary to standard error.
    """
    from PIL import Image

    from tl_infer.classifier import Classifier
    from tl_infer.errors import OutputPathError
    from tl_infer.folder import find_files

    # A picture over our limit gets its row; Pillow's warning about it would only add noise.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    classifier = Classifier(model, threads=threads)
    if top_k > len(classifier.labels):
        raise click.BadParameter(f"{top_k} asked for, the model has {len(classifier.labels)} classes.",
                                 param_hint="'--top-k'")  # fmt: skip
    files = find_files(paths)
    if out is not None:
        if out.exists() and not overwrite:
            raise OutputPathError(f"{out}: exists already; choose another name, or replace it with --overwrite")
        files = [path for path in files if path in paths or not _is_same(path, out)]
    return _classify_files(classifier, files, out, top_k)


def _is_same(path: Path, out: Path) -> bool:
    """Whether a file found in a folder is the one that the results go to."""
    return path.name == out.name and path.resolve() == out.resolve()


def _classify_files(classifier: Classifier, files: list[Path], out: Path | None, top_k: int) -> int:
    """Write one row per file; rows written before Ctrl-C are kept whole."""
    from tl_infer.errors import ImageError

    done = failed = 0
    interrupted = False
    started = time.perf_counter()
    with _rows_to(out, top_k, classifier.labels) as write, _progress(len(files), out) as bar:
        try:
            for path, result in zip(files, classifier.classify_many(files, top_k), strict=True):
                write(path, result)
                done += 1
                failed += isinstance(result, ImageError)
                bar.update(1)
        except KeyboardInterrupt:
            interrupted = True
    seconds = time.perf_counter() - started
    errors = f"{failed} error{'' if failed == 1 else 's'}"
    click.echo(f"{done} of {len(files)} files, {errors}, {done / seconds:.1f} pictures/s", err=True)
    if out is not None:
        click.echo(f"Results: {printable(str(out))}", err=True)
    if interrupted:
        click.echo("Interrupted: the results end at the last file classified.", err=True)
        return EXIT_INTERRUPTED
    return EXIT_SOME_FAILED if failed else 0


def _rows_to(out: Path | None, top_k: int, labels: tuple[str, ...]) -> contextlib.AbstractContextManager[RowWriter]:
    from tl_infer.writers import result_writer

    if out is not None:
        return result_writer(out, top_k)
    return contextlib.nullcontext(_terminal_writer(max(len(printable(label)) for label in labels)))


def _terminal_writer(label_width: int) -> RowWriter:
    """A line per picture: classes and probabilities in columns, the path last because its length varies."""
    from tl_infer.errors import ImageError

    width = min(label_width, 30)

    def write(path: Path, result: Classification | ImageError) -> None:
        name = printable(str(path))
        if isinstance(result, ImageError):
            click.echo(f"{'error':<{width}}          {name}: {printable(result.reason)}")
        else:
            cells = (f"{printable(score.label):<{width}}  {score.probability:7.2%}" for score in result.top)
            click.echo(f"{'  '.join(cells)}  {name}")

    return write


class _NoBar:
    def update(self, _steps: int) -> None: ...


@contextlib.contextmanager
def _progress(length: int, out: Path | None) -> Iterator[click._termui_impl.ProgressBar[int] | _NoBar]:
    """A bar on stderr for long work; not where it would run into the rows printed on the same terminal."""
    if not sys.stderr.isatty() or (out is None and sys.stdout.isatty()) or length < 20:
        yield _NoBar()
        return
    with click.progressbar(length=length, label="Classifying", file=sys.stderr, show_pos=True) as bar:
        yield bar


def main() -> None:
    """Entry point of `tl-infer`."""
    run_program(command)
