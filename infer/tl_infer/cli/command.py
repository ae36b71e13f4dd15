"""The program `tl-infer`."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tl_infer.cli.console import EXIT_INTERRUPTED, EXIT_SOME_FAILED, EXIT_TERMINATED, printable, run_program

if TYPE_CHECKING:
    from collections.abc import Callable

    from tl_infer.classifier import Classifier
    from tl_infer.cli.job import Job, Outcome
    from tl_infer.cli.rows import Row

_EPILOG = """\b
Exit codes: 0 all classified, 1 fatal, 2 wrong usage, 3 some files failed,
130 interrupted by Ctrl-C, 143 terminated; --resume goes on after both.

\b
Examples:
  tl-infer model.onnx photo.jpg
  tl-infer model.onnx photos/ --out results.csv
  tl-infer model.onnx 'photos/**/*.jpg' --out results.jsonl --top-k all
  find photos -name '*.png' -print0 | tl-infer model.onnx - -0 --out r.csv
  tl-infer model.onnx photos/ --sort-into sorted --move --threshold 0.9
  tl-infer model.onnx --info --self-test
"""


class _TopK(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    name = "N|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "all" or isinstance(value, int):
            return "all" if value == "all" else int(value)
        if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) == 0:
            self.fail(f"{value!r} is neither a number from 1 nor 'all'; -1 or 0 are not in the range.", param, ctx)
        return int(value)


def _check_out(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() not in (".csv", ".jsonl"):
        raise click.BadParameter(f"{value}: the name must end in .csv or .jsonl.")
    return value


def _check_npy(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() != ".npy":
        raise click.BadParameter(f"{value}: the name must end in .npy.")
    return value


def _check_sha256(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise click.BadParameter(f"{value[:80]!r} is no SHA-256, expected 64 hexadecimal digits.")
    return value


def _check_paths(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """An empty argument is an unset variable of the shell; as a path it would be the current folder."""
    if "" in value:
        raise click.BadParameter("an empty path was given; to classify the current folder give '.'.")
    if value.count("-") > 1:
        raise click.BadParameter("'-' (standard input) can be given once.")
    return value


_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, dir_okay=False)
_COUNT = click.IntRange(min=1)


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tl-toolkit", prog_name="tl-infer")
@click.argument("model", type=_PATH)
@click.argument("paths", metavar="PATH...", nargs=-1, callback=_check_paths)
@click.option("-0", "--null", "nul", is_flag=True, help="Paths on standard input are separated by NUL.")
@click.option("--out", type=_FILE, callback=_check_out,
              help="Write rows to FILE.csv or FILE.jsonl; FILE.run.json beside it says what made them.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an existing --out or --embeddings.")
@click.option("--resume", is_flag=True, help="Go on with --out: files that have a row are skipped.")
@click.option("--top-k", type=_TopK(), metavar="N|all", default=1, show_default=True,
              help="How many classes to name; all gives every probability, in CSV a column per class. "
                   "From 2 on the classes of unsure pictures are named too.")  # fmt: skip
@click.option("--threshold", type=click.FloatRange(0, 1), help="Unsure below this probability; 0 never is.  "
              "[default: the model's own]")  # fmt: skip
@click.option("--sort-into", metavar="DIR", type=_PATH,
              help="Put each file into the folder of its class in DIR, _unsure and _failed among them.")  # fmt: skip
@click.option("--copy", "copy", is_flag=True, help="With --sort-into: copy, which is the default.")
@click.option("--move", is_flag=True, help="With --sort-into: move; files that failed stay where they are.")
@click.option("--link", is_flag=True, help="With --sort-into: make symbolic links.")
@click.option("--heatmaps", metavar="DIR", type=_PATH,
              help="Write each picture with where its class was seen to DIR.")  # fmt: skip
@click.option("--embeddings", metavar="FILE.npy", type=_FILE, callback=_check_npy,
              help="Write float32 [files, D], rows in the order of --out, NaN for failed files.")  # fmt: skip
@click.option("--info", is_flag=True, help="Show what the model says of itself; takes no PATH.")
@click.option("--self-test", is_flag=True, help="Run the model's golden samples; takes no PATH.")
@click.option("--sha256", metavar="HEX", callback=_check_sha256, help="Refuse a model with another SHA-256.")
@click.option("--provider", "providers", metavar="NAME", multiple=True,
              help="cpu, cuda, coreml, openvino or directml, where installed; repeatable.  [default: cpu]")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 1024), help="Processors to use.  [default: all]")
@click.option("--fast-decode", is_flag=True,
              help="Decode large JPEGs at a reduced scale: faster, and the answers change a little.")  # fmt: skip
@click.option("--max-pixels", type=_COUNT, help="Refuse larger pictures.  [default: 50000000]")
@click.option("--max-file-size", type=_COUNT, metavar="BYTES", help="Refuse larger files.  [default: 200000000]")
@click.option("--max-side", type=_COUNT, metavar="PIXELS", help="Refuse wider or higher pictures.  [default: 65535]")
@click.option("--max-scans", type=_COUNT, help="Refuse progressive JPEGs of more scans.  [default: 100]")
def command(model: Path, paths: tuple[str, ...], **options: Any) -> int:
    """Classify pictures with MODEL, a file made by tl-export.

    Each PATH is a picture, a folder, a pattern in quotes ('photos/*.jpg'), or - for paths on standard input, a file
    each. Folders are read with all their sub-folders, in natural order, names that begin with a dot skipped. Every
    file gives one row; a file that is no picture gives a row with the error, and the others go on. Rows go to standard
    output or to --out, progress and the summary to standard error.
    """
    _check_usage(paths, options)
    classifier = _open(model, paths, options)
    if not paths:
        return _describe(classifier, info=options["info"], self_test=options["self_test"])
    return _classify(classifier, _job(classifier, paths, options))


def _check_usage(paths: tuple[str, ...], options: dict[str, Any]) -> None:
    """Options that need one another or exclude one another."""
    asks = [name for name in ("info", "self_test") if options[name]]
    if not paths and not asks:
        raise click.UsageError("Missing argument 'PATH...'.")
    if paths and asks:
        raise click.UsageError("--info and --self-test take no PATH; classify in a call of its own.")
    for name in ("out", "sort_into", "heatmaps", "embeddings"):
        if options[name] and not paths:
            raise click.UsageError(f"--{name.replace('_', '-')} needs a PATH.")
    modes = [name for name in ("copy", "move", "link") if options[name]]
    if len(modes) > 1:
        raise click.UsageError("--copy, --move and --link exclude one another.")
    if modes and not options["sort_into"]:
        raise click.UsageError(f"--{modes[0]} needs --sort-into.")
    if options["nul"] and "-" not in paths:
        raise click.UsageError("-0 needs the PATH '-', standard input.")
    if options["resume"] and options["overwrite"]:
        raise click.UsageError("--resume and --overwrite exclude one another.")
    if options["resume"] and not options["out"]:
        raise click.UsageError("--resume needs --out.")
    if options["resume"] and options["embeddings"]:
        raise click.UsageError("--embeddings cannot go on with --resume; compute them in a run of their own.")


def _open(model: Path, paths: tuple[str, ...], options: dict[str, Any]) -> Classifier:
    from PIL import Image

    from tl_infer.classifier import Classifier
    from tl_infer.cli.inputs import is_one_file

    limits = _limits(options)
    # A picture over our limit gets its row; Pillow's own limit and its warning would only stand in the way.
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    return Classifier(
        model, threads=options["threads"], providers=options["providers"] or None, sha256=options["sha256"],
        limits=limits, fast_decode=options["fast_decode"], for_many=bool(paths) and not is_one_file(paths),
    )  # fmt: skip


def _limits(options: dict[str, Any]) -> Any:
    from tl_infer.images import Limits

    names = {"max_pixels": "max_pixels", "max_file_bytes": "max_file_size", "max_side_px": "max_side",
             "max_scans": "max_scans"}  # fmt: skip
    return Limits(**{field: options[name] for field, name in names.items() if options[name] is not None})


def _job(classifier: Classifier, paths: tuple[str, ...], options: dict[str, Any]) -> Job:
    from tl_infer.cli.job import Job
    from tl_infer.errors import OutputPathError

    top_k = None if options["top_k"] == "all" else options["top_k"]
    if top_k is not None and top_k > len(classifier.labels):
        raise click.BadParameter(f"{top_k} asked for, the model has {len(classifier.labels)} classes.",
                                 param_hint="'--top-k'")  # fmt: skip
    embeddings = options["embeddings"]
    if embeddings is not None and embeddings.exists() and not options["overwrite"]:
        raise OutputPathError(f"{embeddings}: exists already; choose another name, or replace it with --overwrite")
    same = ("nul", "threshold", "out", "resume", "overwrite", "sort_into", "heatmaps", "embeddings", "fast_decode",
            "providers")  # fmt: skip
    return Job(
        paths=paths,
        top_k=top_k,
        limits=_limits(options),
        sort_mode="move" if options["move"] else "link" if options["link"] else "copy",
        **{name: options[name] for name in same},
    )


def _describe(classifier: Classifier, *, info: bool, self_test: bool) -> int:
    from tl_infer.cli.info import info_lines

    if info:
        click.echo("\n".join(info_lines(classifier)))
    if self_test:
        found = classifier.self_test()
        click.echo(
            f"self-test passed: {found.samples} samples, largest difference {found.max_difference:.2g}, allowed are "
            f"{found.tolerance:.2g}"
        )
    return 0


def _classify(classifier: Classifier, job: Job) -> int:
    from tl_infer.cli.interrupts import Stopped
    from tl_infer.cli.job import Run
    from tl_infer.cli.progress import Progress

    run = Run(classifier, job)
    # Rows on the same terminal would run into it, and short work is done before it is read.
    visible = (job.out is not None or not sys.stdout.isatty()) and (run.count is None or run.count >= 20)
    progress = Progress(sys.stderr, run.count, visible=visible)
    started = time.perf_counter()
    try:
        outcome = run.execute(_printer(classifier.labels), progress.advance)
    except Stopped as stopped:  # before the first picture
        return _exit_code(stopped.signal)
    finally:
        progress.close()
    _summarise(run.count, outcome, time.perf_counter() - started, job.out)
    if outcome.stopped is not None:
        return _exit_code(outcome.stopped)
    return EXIT_SOME_FAILED if outcome.tally.failed else 0


def _exit_code(number: int) -> int:
    return EXIT_TERMINATED if number == signal.SIGTERM else EXIT_INTERRUPTED


def _printer(labels: tuple[str, ...]) -> Callable[[Row], None]:
    """A table on a terminal, tabs in a pipe."""
    from tl_infer.cli.table import tab_line, table_lines

    if not sys.stdout.isatty():
        return lambda row: click.echo(tab_line(row))
    colored = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def show(row: Row) -> None:
        text = "\n".join(table_lines(row, labels, shutil.get_terminal_size().columns))
        color = "red" if row.error else "yellow" if row.abstained else None
        click.secho(text, fg=color if colored else None)

    return show


def _summarise(count: int | None, outcome: Outcome, seconds: float, out: Path | None) -> None:
    tally = outcome.tally
    errors = f"{tally.failed} error{'' if tally.failed == 1 else 's'}"
    total = "" if count is None else f" of {count}"
    before = tally.files - outcome.done
    earlier = f", {before} from before" if before else ""
    click.echo(f"{tally.files}{total} files{earlier}, {errors}, {outcome.done / seconds:.1f} pictures/s", err=True)
    if tally.files > 1:
        with contextlib.suppress(UnicodeEncodeError):
            click.echo("\n".join(tally.lines()), err=True)
    if out is not None:
        click.echo(f"Results: {printable(str(out))}", err=True)
    if outcome.stopped is not None:
        word = "Terminated" if outcome.stopped == signal.SIGTERM else "Interrupted"
        remedy = "; --resume goes on" if out is not None else ""
        click.echo(f"{word}: the results end at the last file classified{remedy}.", err=True)


def main() -> None:
    """Entry point of `tl-infer`."""
    run_program(command)
