"""The program `tl-export`."""

from __future__ import annotations

from pathlib import Path

import click

from tl_infer.console import printable, require_extra, run_program

_EPILOG = """\b
Exit codes: 0 written and proven, 1 fatal (there is no file then), 2 wrong usage, 130 interrupted.

\b
Examples:
  tl-export runs/photos
  tl-export runs/photos --out photos.onnx --images more-photos/
"""


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tl-toolkit", prog_name="tl-export")
@click.argument("run", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=None, help="The file to write.  [default: model.onnx in DIR]"
)
@click.option(
    "--images",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Verify on these pictures or folders; may be given again.  [default: the run's held-out pictures]",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def command(run: Path, out: Path | None, images: tuple[Path, ...], overwrite: bool) -> None:
    """Export the run in DIR (made by tl-train) to one ONNX file, preprocessing inside.

    The file is written only after it gave the same answers as the PyTorch model on real picture files: the same top-1
    and every probability within 0.0001. Otherwise the worst picture is shown and there is no file.
    """
    require_extra("export", ("torch", "torchvision", "timm", "onnx", "onnxscript", "rich"))
    from tl_export.export import export
    from tl_train.progress import TerminalProgress

    result = export(run, out or run / "model.onnx", images=images, overwrite=overwrite, progress=TerminalProgress())
    parity = result.parity
    click.echo(
        f"Verified on {parity.pictures} pictures: the same top-1 on all, "
        f"largest probability difference {parity.max_probability_difference:.1e}"
    )
    click.echo(f"Model: {printable(str(result.path))} ({result.size_bytes / 1e6:.1f} MB)")


def main() -> None:
    """Entry point of `tl-export`."""
    run_program(command)
