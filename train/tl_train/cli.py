"""The program `tl-train`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from tl_infer.console import printable, require_extra, run_program

_EPILOG = """\b
Exit codes: 0 trained, 1 fatal, 2 wrong usage, 130 interrupted.

\b
Examples:
  tl-train digits --out runs/digits --size 64 --epochs 3
  tl-train cats-dogs --out runs/cats-dogs --mode head
  tl-train photos/ --out runs/photos       (photos/cat/*.jpg, photos/dog/*.jpg, ...)

\b
Then:
  tl-export runs/photos --out photos.onnx
  tl-infer photos.onnx new-photos/
"""


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tl-toolkit", prog_name="tl-train")
@click.argument("data")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the run; made if not there.")
@click.option(
    "--arch",
    default="efficientnet_lite0",
    show_default=True,
    help="efficientnet_lite0 (its weights are installed), efficientnet_b0 (downloads), or timm:NAME.",
)
@click.option(
    "--weights",
    default="default",
    show_default=True,
    metavar="default|none|FILE",
    help="Start from pretrained weights, random ones, or a .safetensors or torch state dict file.",
)
@click.option(
    "--mode",
    type=click.Choice(["full", "head"]),
    default="full",
    show_default=True,
    help="Train all parameters, or only the new last layer on a frozen backbone.",
)
@click.option(
    "--color",
    type=click.Choice(["rgb", "gray"]),
    default="rgb",
    show_default=True,
    help="gray takes the colour away, in the exported file too.",
)
@click.option("--size", type=int, default=None, metavar="PX", help="Side of the input.  [default: the architecture's]")
@click.option("--epochs", type=int, default=10, show_default=True, help="Passes over the training pictures.")
@click.option("--batch-size", type=int, default=8, show_default=True, help="Pictures per step.")
@click.option("--lr", type=float, default=1e-3, show_default=True, help="Learning rate of Adam.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the new head, the order and the splits.")
@click.option(
    "--val-split",
    type=float,
    default=0.1,
    show_default=True,
    help="Share of the training pictures held back to watch the training.",
)
@click.option(
    "--test-split",
    type=float,
    default=0.2,
    show_default=True,
    help="Share of a folder's pictures used for the final figures only; the built-in sets bring their own.",
)
@click.option("--skip-bad", is_flag=True, help="Leave unreadable pictures out instead of stopping.")
@click.option("--overwrite", is_flag=True, help="Replace the run that is in --out.")
def command(out: Path, overwrite: bool, **options: Any) -> None:
    """Fine-tune a pretrained network on the pictures of DATA.

    DATA is cats-dogs (the textbook's 160 pictures, downloaded once), digits (1797 scanned digits, no download), or a
    folder with one sub-folder of pictures per class. The run's folder gets the weights, the figures, the metrics and a
    report.html. The accuracy it reports is measured on pictures that played no part in training.
    """
    require_extra("train", ("torch", "torchvision", "timm", "lightning_fabric", "onnx", "sklearn", "rich"))
    from tl_train.config import TrainConfig
    from tl_train.progress import TerminalProgress
    from tl_train.run import train

    typed = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    result = train(TrainConfig(**options), out, overwrite=overwrite, progress=TerminalProgress(), command=typed)
    if result.evaluation is not None:
        found = result.evaluation
        between = f"95% interval {found.interval.low:.1%} to {found.interval.high:.1%}"
        counted = f"{found.correct} of {len(found.truth)}, {between}"
        click.echo(f"{found.part.capitalize()} accuracy: {found.accuracy:.2%} ({counted})")
    click.echo(f"Report: {printable(str(out / 'report.html'))}")
    click.echo(f"Next: tl-export {printable(str(out))}")


def main() -> None:
    """Entry point of `tl-train`."""
    run_program(command)
