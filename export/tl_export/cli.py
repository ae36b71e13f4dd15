"""The program `tl-export`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tl_infer.cli.console import printable, require_extra, run_program

if TYPE_CHECKING:
    from tl_export.proof.proof import Proof

_EPILOG = """\b
Exit codes: 0 written and proven, 1 fatal (there is no file then), 2 wrong usage, 130 interrupted.

\b
Examples:
  tl-export runs/photos
  tl-export runs/photos --out photos.onnx --images more-photos/
  tl-export --check photos.onnx --run runs/photos
"""

_ALL_OUTPUTS = "probabilities,logits,embedding,heatmap"


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tl-toolkit", prog_name="tl-export")
@click.argument("run", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="The file to write; NAME.parity.json and NAME.md, its proof and card, go beside it.  "
    "[default: model.onnx in DIR]",
)
@click.option(
    "--images",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Verify on these pictures or folders; may be given again.  [default: the run's held-out pictures]",
)
@click.option(
    "--verify-count",
    type=click.IntRange(min=1),
    metavar="N",
    help="Verify on N of these, spread over all.  [default: all]",
)
@click.option(
    "--outputs",
    default=_ALL_OUTPUTS,
    show_default=True,
    metavar="NAMES",
    help="What the file gives, comma-separated; probabilities always, heatmap where the network has one.",
)
@click.option("--fp16-weights", is_flag=True, help="Store weights as float16: half the size, the same speed.")
@click.option(
    "--int8",
    is_flag=True,
    help="Make the network int8, if that is faster here and loses no more accuracy than --max-drop on the run's "
    "held-out pictures; keep fp32 otherwise. Needs the run's training pictures.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="Accuracy that --int8 may lose, in percentage points.  [default: 0.5]",
)
@click.option(
    "--golden",
    type=click.Choice(["pictures", "synthetic"]),
    default="pictures",
    show_default=True,
    help="What the golden samples in the file are: small copies of held-out pictures, or patterns made by tl-export.",
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
    help="With --check: the run that the file is from.",
)
def command(
    run: Path | None,
    out: Path | None,
    images: tuple[Path, ...],
    verify_count: int | None,
    outputs: str,
    fp16_weights: bool,
    int8: bool,
    max_drop: float | None,
    golden: str,
    overwrite: bool,
    check: Path | None,
    check_run: Path | None,
) -> None:
    """Export the run in DIR (made by tl-train) to one ONNX file, preprocessing inside.

    The file is written only after it was the same as the PyTorch model at every stage, from the decoded picture to the
    label, on real picture files. Otherwise the first stage that differs is named and there is no file.
    """
    _check_usage(run, out, images, overwrite, check, check_run)
    _check_form(fp16_weights, int8, max_drop, golden, check)
    names = _output_names(outputs)
    require_extra("export", ("torch", "torchvision", "timm", "onnx", "onnxscript", "jinja2", "rich"))
    if check is not None:
        _check(check, check_run, images, verify_count)
        return
    from tl_export.pipeline import export
    from tl_export.proof.precision import Precision
    from tl_export.smaller.form import Form
    from tl_train.progress import TerminalProgress
    from tl_train.run_folder.folder import RunFolder

    assert run is not None
    precision = Precision.INT8 if int8 else Precision.FP16 if fp16_weights else Precision.FP32
    result = export(
        run,
        out or RunFolder(run).model_file,
        images=images,
        overwrite=overwrite,
        outputs=names,
        verify_count=verify_count,
        form=Form(precision, 0.005 if max_drop is None else max_drop / 100, golden == "synthetic"),
        progress=TerminalProgress(),
    )
    _show(result.proof)
    if result.int8 is not None:
        for line in result.int8.lines():
            click.echo(printable(line))
    click.echo(
        f"Golden samples: {len(result.golden.samples.samples)}, tolerance {result.golden.samples.tolerance:g}; "
        + ", ".join(f"{fault} would be off by {gap:.2g}" for fault, gap in result.golden.faults.items())
    )
    form = f"{result.size_bytes / 1e6:.1f} MB, {result.proof.precision.value}; {', '.join(result.outputs)}"
    click.echo(f"Model: {printable(str(result.path))} ({form})")


def _check_usage(
    run: Path | None,
    out: Path | None,
    images: tuple[Path, ...],
    overwrite: bool,
    check: Path | None,
    check_run: Path | None,
) -> None:
    if check is None and run is None:
        raise click.UsageError("Missing argument 'DIR': the folder of a run of tl-train.")
    if check is None and check_run is not None:
        raise click.UsageError("--run goes with --check; to export a run, give its folder as the argument.")
    if check is not None and (run is not None or out is not None or overwrite):
        raise click.UsageError("--check writes nothing: give no DIR, --out or --overwrite; the run with --run DIR.")
    if check is not None and check_run is None and images:
        raise click.UsageError("--images with --check needs --run DIR: without the model nothing can be compared.")


def _check_form(fp16_weights: bool, int8: bool, max_drop: float | None, golden: str, check: Path | None) -> None:
    if fp16_weights and int8:
        raise click.UsageError("--fp16-weights and --int8 exclude each other: choose one.")
    if max_drop is not None and math.isnan(max_drop):
        raise click.BadParameter("found nan, expected 0 to 100", param_hint="--max-drop")
    if max_drop is not None and not int8:
        raise click.UsageError("--max-drop goes with --int8.")
    if check is not None and (fp16_weights or int8 or golden != "pictures"):
        raise click.UsageError("--check takes the file as it is: give no --fp16-weights, --int8 or --golden.")


def _output_names(given: str) -> tuple[str, ...]:
    known = _ALL_OUTPUTS.split(",")
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    for name in names:
        if name not in known:
            raise click.BadParameter(f"found '{name}', expected some of {_ALL_OUTPUTS}", param_hint="--outputs")
    return names


def _check(model: Path, run: Path | None, images: tuple[Path, ...], verify_count: int | None) -> None:
    from tl_export.recheck import check
    from tl_train.progress import TerminalProgress

    result = check(model, run, images=images, verify_count=verify_count, progress=TerminalProgress())
    outputs = ", ".join(result.outputs)
    click.echo(f"Structure: one file, {result.precision.value}, opset {result.opset}, outputs {outputs}")
    click.echo(
        f"Golden samples: {result.golden.samples}, largest difference {result.golden.max_difference:.1e}, "
        f"allowed {result.golden.tolerance:g}"
    )
    if result.proof is not None:
        _show(result.proof)
    click.echo(f"Good: {printable(str(model))}")


def _show(proof: Proof) -> None:
    for line in proof.lines():
        click.echo(printable(line))
    others = proof.other_labels
    same = "all" if others == 0 else f"{proof.pictures - others}, another on {others}"
    click.echo(f"Verified on {proof.pictures} pictures: the same top-1 on {same}")


def main() -> None:
    """Entry point of `tl-export`."""
    run_program(command)
