"""The program `tl-export`."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import click

from tl_export.options import ExportOptions, Gate, GoldenSource, Precision
from tl_infer.cli.console import loading, require_extra, run_program, work_begins
from tl_infer.cli.streams import summary
from tl_infer.limits import parse_formats
from tl_infer.text.safetext import printable

_EPILOG = """\b
Exit codes: 0 written and proven, 1 fatal (nothing is written then),
2 wrong usage, 130 interrupted.

\b
Examples:
  tl-export runs/photos
  tl-export runs/photos --out photos.onnx --images more-photos/
  tl-export runs/photos --out more.onnx --add-class fox fox-photos/
  tl-export runs/photos --page photos.html
  tl-export --check photos.onnx --run runs/photos
"""

_MODULES = ("torch", "torchvision", "timm", "onnx", "onnxscript", "jinja2", "rich", "huggingface_hub")
_DEFAULTS = ExportOptions()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _CommandLine:
    """What was given, as --help lists it.

    Raises:
        click.UsageError: options that do not go together.

    """

    run: Path | None
    out: Path | None
    page: Path | None
    images: tuple[Path, ...]
    verify_count: int | None
    outputs: str | None
    fp16_weights: bool
    int8: bool
    max_drop: float | None
    gate: Gate | None
    golden: GoldenSource
    add_class: tuple[str, Path] | None
    formats: str
    overwrite: bool
    check: Path | None
    check_run: Path | None

    def __post_init__(self) -> None:
        if self.check is None:
            self._check_export()
        else:
            self._check_check()

    def _check_export(self) -> None:
        if self.run is None:
            raise click.UsageError("Missing argument 'DIR': the folder of a run of tl-train.")
        if self.check_run is not None:
            raise click.UsageError("--run goes with --check; to export a run, give its folder as the argument.")
        if self.fp16_weights and self.int8:
            raise click.UsageError("--fp16-weights and --int8 exclude each other: choose one.")
        if self.max_drop is not None and not self.int8:
            raise click.UsageError("--max-drop goes with --int8.")
        if self.gate is not None and not self.int8:
            raise click.UsageError("--gate goes with --int8.")
        if self.add_class is not None and self.int8:
            raise click.UsageError("--add-class does not go with --int8, which is judged on images of all classes.")

    def _check_check(self) -> None:
        if self.run is not None or self.out is not None or self.page is not None or self.overwrite:
            raise click.UsageError(
                "--check writes nothing: give no DIR, --out, --page or --overwrite; the run with --run DIR."
            )
        if self.check_run is None and (self.images or self.verify_count is not None):
            raise click.UsageError(
                "--images and --verify-count with --check need --run DIR: without the run nothing can be compared."
            )
        if self.check_run is None and self.add_class is not None:
            raise click.UsageError("--add-class with --check needs --run DIR, the run that the class was added to.")
        if self.formats:
            raise click.UsageError("--check reads the formats that the run was trained on: give no --formats.")
        if self.fp16_weights or self._asks_for_int8 or self.golden != _DEFAULTS.golden or self.outputs is not None:
            raise click.UsageError(
                "--check takes the file as it is: give no --outputs, --fp16-weights, --int8 or --golden."
            )

    @property
    def _asks_for_int8(self) -> bool:
        return self.int8 or self.max_drop is not None or self.gate is not None

    def export_options(self) -> ExportOptions:
        """As the library takes them.

        Raises:
            click.BadParameter: a value is out of range.

        """
        outputs = None if self.outputs is None else tuple(filter(None, map(str.strip, self.outputs.split(","))))
        try:
            return ExportOptions(
                outputs=_DEFAULTS.outputs if outputs is None else outputs,
                precision=Precision.INT8 if self.int8 else Precision.FP16 if self.fp16_weights else Precision.FP32,
                max_drop=_DEFAULTS.max_drop if self.max_drop is None else self.max_drop / 100,
                gate=self.gate or _DEFAULTS.gate,
                golden=self.golden,
                add_class=self.add_class,
                images=self.images,
                verify_count=self.verify_count,
                formats=parse_formats(self.formats),
            )
        except ValueError as error:
            field, _, problem = str(error).partition(": ")
            raise click.BadParameter(problem, param_hint=f"--{field.replace('_', '-')}") from error


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tl-toolkit", prog_name="tl-export")
@click.argument("run", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The file to write; NAME.parity.json and NAME.md, its proof and card, go beside it.  "
    "[default: model.onnx in DIR]",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Write a page too, that classifies in a browser: the model is inside, it opens from disk, needs no network "
    "and sends nothing.",
)
@click.option(
    "--images",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Verify on these images or folders; may be given more than once.  [default: the run's held-out images]",
)
@click.option(
    "--verify-count",
    type=click.IntRange(min=1),
    metavar="N",
    help="Verify on N of these images, evenly spread.  [default: all]",
)
@click.option(
    "--outputs",
    metavar="NAMES",
    help="The outputs of the file, comma-separated; probabilities always, heatmap where the network has one, "
    f"familiarity where the run had images enough for it.  [default: {', '.join(_DEFAULTS.outputs)}]",
)
@click.option("--fp16-weights", is_flag=True, help="Store the weights as float16: half the size, the same speed.")
@click.option(
    "--int8",
    is_flag=True,
    help="Make the network int8, with its head fitted again; keep fp32 where the run's held-out images show that this "
    "loses more accuracy (of several labels: mAP) than --max-drop or more log-loss than goes with it, or where it is "
    "slower here. Needs the run's training images.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="Accuracy, or mAP of several labels, that --int8 may lose, in percentage points.  "
    f"[default: {100 * _DEFAULTS.max_drop:g}]",
)
@click.option(
    "--gate",
    type=click.Choice(get_args(Gate)),
    help="What is asked of --int8. shown: refused where a loss above --max-drop was shown (95% interval); strict: kept "
    "only where a smaller one was shown; none: kept whatever was measured.  "
    f"[default: {_DEFAULTS.gate}]",
)
@click.option(
    "--golden",
    type=click.Choice(get_args(GoldenSource)),
    default=_DEFAULTS.golden,
    show_default=True,
    help="What the golden samples in the file are: small copies of held-out images, or patterns drawn by tl-export.",
)
@click.option(
    "--add-class",
    type=(str, click.Path(path_type=Path)),
    metavar="NAME DIR",
    help="Add a class without training, from the five or more images in DIR; the card says what the others lose by it. "
    "Needs the run's training images.",
)
@click.option(
    "--formats",
    default="",
    metavar="A,B",
    help="Also read images of these formats, besides those of the run: avif, heic (needs the extra heif), jpeg2000, "
    "pnm (PPM, PGM, PBM), tga.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@click.option(
    "--check",
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="Export nothing; prove the finished file MODEL again: its structure, its golden samples, and with --run the "
    "whole proof.",
)
@click.option(
    "--run",
    "check_run",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --check: the run that the file was exported from.",
)
def command(**given: Any) -> None:
    """Export the run in DIR (made by tl-train) to one ONNX file with the preprocessing inside.

    The file is written only if it gave the same answers as the PyTorch model at every stage, from the decoded image to
    the label, on real image files. Otherwise the first stage that differs is named, and nothing is written.
    """
    line = _CommandLine(**given)
    options = line.export_options()
    require_extra("export", _MODULES)
    from tl_train.training.waiting import wait_briefly  # no part of it is needed for --help

    wait_briefly()
    if line.check is None:
        _export(line, options)
    else:
        _check(line, line.check)


def _show(sentences: Iterable[str], paths: Iterable[str]) -> None:
    """Print both; the lines with paths as they are, for a terminal must not break what is to be copied."""
    from rich.console import Console

    from tl_train.progress import print_line

    console = Console(highlight=False)
    for text in sentences:
        print_line(console, text)
    for text in paths:
        click.echo(printable(text))


def _export(line: _CommandLine, options: ExportOptions) -> None:
    with loading():
        from tl_export.pipeline import export
        from tl_export.summary import export_lines, written_lines
        from tl_train.progress import TerminalProgress

    assert line.run is not None
    work_begins()
    result = export(line.run, line.out, options, page=line.page, overwrite=line.overwrite, progress=TerminalProgress())
    with summary():
        _show(export_lines(result), written_lines(result))


def _check(line: _CommandLine, model: Path) -> None:
    with loading():
        from tl_export.recheck import check
        from tl_export.summary import check_lines
        from tl_train.progress import TerminalProgress

    work_begins()
    result = check(
        model,
        line.check_run,
        images=line.images,
        verify_count=line.verify_count,
        add_class=line.add_class,
        progress=TerminalProgress(),
    )
    _show(check_lines(result), [f"Check passed: {model}"])


def main() -> None:
    """Run `tl-export`; its entry point is in `start`."""
    run_program(command)
