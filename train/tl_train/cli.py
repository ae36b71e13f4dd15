"""The program `tl-train`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tl_infer.cli.console import printable, require_extra, run_program

if TYPE_CHECKING:
    from tl_train.run_folder.result import TrainResult

_EPILOG = """\b
Exit codes: 0 trained, 1 fatal, 2 wrong usage, 130 interrupted, 143 terminated; an interrupted run
continues with --resume.

\b
Examples:
  tl-train digits --out runs/digits
  tl-train photos/ --out runs/photos       (photos/cat/*.jpg, photos/dog/*.jpg, ...)
  tl-train photos/ --out runs/comparison --recipe default --recipe gradual --seeds 3

\b
Then:
  tl-export runs/photos --out photos.onnx
  tl-infer photos.onnx new-photos/
"""


def _list_recipes(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from tl_train.recipes import recipe_names, recipe_summary

    for name in recipe_names():
        click.echo(f"{name}\n    {recipe_summary(name)}")
    context.exit()


def _list_architectures(context: click.Context, option: click.Parameter, pattern: str | None) -> None:
    """Print the table and end: a callback, so that neither DATA nor --out is asked for."""
    del option
    if pattern is None or context.resilient_parsing:
        return
    require_extra("train", ("torch", "torchvision", "timm"))
    from tl_train.models.listing import LICENCES, architecture_lines, timm_count_line

    for line in architecture_lines(pattern):
        click.echo(line)
    click.echo(LICENCES, err=True)
    if not pattern:
        click.echo(timm_count_line(), err=True)
    context.exit()


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tl-toolkit", prog_name="tl-train")
@click.option(
    "--list-recipes",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_recipes,
    help="Show the recipes and stop.",
)
@click.argument("data")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the run; made if not there.")
@click.option(
    "--recipe",
    "recipes",
    multiple=True,
    metavar="NAME|FILE",
    help="Take the options of a recipe (see --list-recipes); options given here override it. Given more than once, "
    "all are run and compared.  [default: default]",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=None,
    help="Run each recipe with so many seeds, counting up from --seed, and compare.",
)
@click.option(
    "--arch",
    help="efficientnet_lite0 (its weights are installed), efficientnet_b0 and others (they download), or timm:NAME."
    "  [default: efficientnet_lite0]",
)
@click.option(
    "--list-archs",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[FILTER]",
    is_eager=True,
    expose_value=False,
    callback=_list_architectures,
    help="Show the architectures, their sizes, weights and licences; with FILTER, a part of a name, timm's too.",
)
@click.option(
    "--weights",
    metavar="default|none|FILE",
    help="Start from pretrained weights, random ones, or a .safetensors or torch state dict file.  [default: default]",
)
@click.option(
    "--head",
    type=click.Choice(["replace", "append"]),
    help="Put the new last layer in the place of the pretrained one, or behind it.  [default: replace]",
)
@click.option(
    "--mode",
    type=click.Choice(["full", "head", "gradual"]),
    help="Train all parameters, only the new last layer on a frozen backbone, or first the one and then the"
    " other with batch-norm statistics frozen.  [default: head]",
)
@click.option(
    "--head-fit",
    type=click.Choice(["sgd", "penalised"]),
    help="Fit the head by steps of Adam, or at once with a penalty chosen by cross-validation; modes full and gradual"
    " start from that head.  [default: penalised]",
)
@click.option(
    "--prior",
    metavar="auto|none|FILE",
    help="Draw the penalised head to what the class names say, to zero, or to the ImageNet classes in a TOML file."
    "  [default: auto]",
)
@click.option(
    "--color",
    type=click.Choice(["rgb", "gray"]),
    help="gray takes the colour away, in the exported file too.  [default: rgb]",
)
@click.option("--size", type=int, metavar="PX", help="Side of the input.  [default: the architecture's]")
@click.option(
    "--fit",
    type=click.Choice(["squash", "letterbox", "pad", "crop"]),
    help="Pictures of another shape: squash ignores the aspect ratio, letterbox keeps it and fills the rest, pad does "
    "so without enlarging, crop takes the centre.  [default: squash]",
)
@click.option(
    "--anchor",
    type=click.Choice(["center", "top-left", "top-right", "bottom-left", "bottom-right"]),
    help="Where letterbox and pad put the picture.  [default: center]",
)
@click.option(
    "--fill",
    metavar="black|white|#rrggbb",
    help="What letterbox and pad put around it.  [default: black]",
)
@click.option(
    "--resample",
    type=click.Choice(["bilinear", "bicubic"]),
    help="Interpolation when resizing.  [default: bilinear]",
)
@click.option(
    "--resize-px",
    type=int,
    metavar="PX",
    help="What crop resizes the shorter side to.  [default: size / 0.875]",
)
@click.option(
    "--augment",
    type=click.Choice(["none", "light", "standard"]),
    help="Random changes of the training pictures: light mirrors, crops and shifts brightness a little; standard does "
    "more of it, and turns, shears, recolours.  [default: none]",
)
@click.option("--epochs", type=int, help="Passes over the training pictures.  [default: 10]")
@click.option("--head-epochs", type=int, help="Of these, on the head alone with mode gradual.  [default: 3]")
@click.option("--batch-size", type=int, help="Pictures per step.  [default: 8]")
@click.option("--lr", type=float, help="Learning rate.  [default: 0.001]")
@click.option("--finetune-lr", type=float, help="Of all parameters with mode gradual.  [default: a tenth of --lr]")
@click.option("--optimizer", type=click.Choice(["adam", "adamw"]), help="[default: adam]")
@click.option("--weight-decay", type=float, help="Of adamw.  [default: 0.01]")
@click.option(
    "--schedule", type=click.Choice(["constant", "cosine"]), help="Of the learning rate.  [default: constant]"
)
@click.option("--warmup-epochs", type=float, help="Epochs in which the rate grows from zero.  [default: 0]")
@click.option("--label-smoothing", type=float, help="[default: 0]")
@click.option(
    "--class-weights",
    type=click.Choice(["none", "balanced"]),
    help="balanced: rare classes count as much as frequent ones.  [default: none]",
)
@click.option("--ema", type=float, metavar="DECAY", help="Keep a moving average of the weights, often 0.99.")
@click.option(
    "--patience",
    type=int,
    metavar="EPOCHS",
    help="Stop after so many epochs without a lower validation loss and keep the best epoch's weights.",
)
@click.option("--seed", type=int, help="Of the new head, the order and the splits.  [default: 0]")
@click.option(
    "--val-split", type=float, help="Share of the training pictures held back to watch the training.  [default: 0.1]"
)
@click.option(
    "--test-split",
    type=float,
    help="Share of a folder's pictures used for the final figures only; built-in sets bring their own.  [default: 0.2]",
)
@click.option("--devices", type=int, help="Processes that share each batch.  [default: 1]")
@click.option("--precision", type=click.Choice(["32-true", "bf16-mixed", "16-mixed"]), help="[default: 32-true]")
@click.option("--skip-bad", is_flag=True, default=None, help="Leave unreadable pictures out instead of stopping.")
@click.option("--mat-keys", metavar="A,B", help="Of a .mat file: the variables, one per class.")
@click.option("--mat-shape", metavar="HxW", help="Of a .mat file: a picture's height and width, 64x64.")
@click.option(
    "--mat-order",
    type=click.Choice(["column", "row"]),
    help="Of a .mat file: whether a picture's values run down its columns (as MATLAB's do) or along its rows."
    "  [default: column]",
)
@click.option("--dry-run", is_flag=True, help="Look at the pictures, print what was found, and stop; --out not needed.")
@click.option(
    "--tensorboard", is_flag=True, help="Write TensorBoard events to OUT/tensorboard; needs: pip install tensorboard"
)
@click.option("--overwrite", is_flag=True, help="Replace the run that is in --out.")
@click.option("--resume", is_flag=True, help="Continue the unfinished run in --out; give the same options again.")
def command(
    out: Path | None,
    recipes: tuple[str, ...],
    seeds: int | None,
    overwrite: bool,
    resume: bool,
    dry_run: bool,
    tensorboard: bool,
    **options: Any,
) -> None:
    """Fine-tune a pretrained network on the pictures of DATA.

    DATA is cats-dogs (the textbook's 160 pictures, downloaded once), digits (1797 scanned digits, no download), a
    folder with one sub-folder of pictures per class (or train/, val/, test/ with those), a CSV file with the columns
    path,label[,split][,group], or a .mat file. The run's folder gets the weights, the figures, the metrics and a
    report.html. The accuracy it reports is measured on pictures that played no part in training.
    """
    if out is None and not dry_run:
        raise click.UsageError("Missing option '--out'.")
    if overwrite and dry_run:
        raise click.UsageError("--dry-run replaces no run; leave --overwrite out.")
    require_extra("train", ("torch", "torchvision", "timm", "lightning_fabric", "onnx", "sklearn", "rich"))
    from tl_train.config import TrainConfig
    from tl_train.recipes import DEFAULT_RECIPE, load_recipe

    given = {name: value for name, value in options.items() if value is not None}
    configs = {name: TrainConfig.from_fields({**load_recipe(name), **given}) for name in recipes or (DEFAULT_RECIPE,)}
    config = next(iter(configs.values()))
    comparing = len(configs) > 1 or seeds is not None
    if resume and comparing:
        raise click.UsageError("--resume continues one run, not a comparison.")

    # only now, so that a mistake in an option is told at once: importing torch takes seconds
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    from tl_train.comparison import as_text, compare
    from tl_train.progress import Progress, TerminalProgress
    from tl_train.run import dry_run as look_only
    from tl_train.run import train
    from tl_train.training.memory import keep_freed_memory

    keep_freed_memory()
    is_first = getattr(rank_zero_only, "rank", 0) == 0  # the other processes work in silence
    progress = TerminalProgress() if is_first else Progress()
    if len(configs) == 1 and (idle := config.idle_fields(given)):
        options_text = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        progress.note(f"Without effect on the closed fit of a head: {options_text}; add --mode full or --head-fit sgd")
    if dry_run:
        look_only(config, out, progress=progress)
        return
    assert out is not None
    if comparing:
        rows = compare(configs, seeds or 1, out, overwrite=overwrite, tensorboard=tensorboard, progress=progress)
        if is_first:
            click.echo(as_text(rows))
            click.echo(f"Comparison: {printable(str(out / 'comparison.html'))}")
        return
    typed = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    result = train(
        config, out, overwrite=overwrite, resume=resume, tensorboard=tensorboard, progress=progress, command=typed
    )
    if is_first:
        _print_result(result)


def _print_result(result: TrainResult) -> None:
    if (found := result.evaluation) is not None:
        between = f"95% interval {found.interval.low:.1%} to {found.interval.high:.1%}"
        counted = f"{found.correct} of {len(found.truth)}, {between}"
        click.echo(f"{found.part.capitalize()} accuracy: {found.accuracy:.2%} ({counted})")
    click.echo(f"Report: {printable(str(result.out / 'report.html'))}")
    click.echo(f"Next: tl-export {printable(str(result.out))}")


def main() -> None:
    """Entry point of `tl-train`."""
    run_program(command)
