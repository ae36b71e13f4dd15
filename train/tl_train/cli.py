"""The program `tl-train`; its options are those of `TrainConfig`."""

from __future__ import annotations

import collections
import dataclasses
import logging
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tl_infer.cli.console import loading, require_extra, run_program, work_begins
from tl_infer.cli.streams import summary
from tl_infer.text.safetext import printable
from tl_train.config.choices import MODE_DEFAULTS
from tl_train.config.options import Option
from tl_train.config.train_config import all_options
from tl_train.recipes import DEFAULT_RECIPE, load_recipe, recipe_names, recipe_summary
from tl_train.training.waiting import wait_briefly

if TYPE_CHECKING:
    from tl_train import TrainConfig
    from tl_train.progress import Progress

_EPILOG = """\b
Exit codes: 0 trained, 1 fatal, 2 wrong usage, 130 interrupted,
143 terminated; an interrupted run continues with --resume.

\b
Examples:
  tl-train digits --out runs/digits
  tl-train photos/ --out runs/photos (photos/cat/1.jpg, photos/dog/2.jpg, ...)
  tl-train photos/ --out runs/both --recipe head --recipe gradual --seeds 3

\b
Then:
  tl-export runs/photos --out photos.onnx
  tl-infer photos.onnx new-photos/
"""


@dataclasses.dataclass(frozen=True, slots=True)
class _Job:
    """What the program is asked to do, beside the configuration.

    Attributes:
        out: folder for the run or the comparison; None for a dry run that writes nothing.
        seeds: how many runs of each recipe are compared; None for a single run.
        dry_run: only look at the images.
        tensorboard: write TensorBoard events.
        overwrite, resume: what to do with a run that is in `out`.

    """

    out: Path | None
    seeds: int | None
    dry_run: bool
    tensorboard: bool
    overwrite: bool
    resume: bool

    def check(self) -> None:
        """Say what of it does not fit together."""
        if self.out is None and not self.dry_run:
            raise click.UsageError("Missing option '--out'.")
        if self.overwrite and self.dry_run:
            raise click.UsageError("--dry-run replaces no run; leave --overwrite out.")
        if self.resume and self.dry_run:
            raise click.UsageError("--dry-run trains nothing; leave --resume out.")
        if self.resume and self.overwrite:
            raise click.UsageError("--resume and --overwrite exclude one another.")


def _list_recipes(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    for name in recipe_names():
        click.echo(f"{name}\n    {recipe_summary(name)}")
    context.exit()


def _list_architectures(context: click.Context, _parameter: click.Parameter, pattern: str | None) -> None:
    """Print the table and end: a callback, so that neither DATA nor --out is asked for."""
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


def _options_of_config(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate with an option for every field of the configuration; one that is not given is None."""
    for _, found in reversed(list(all_options())):
        if found.on_command_line:
            command = _click_option(found)(command)
    return command


def _click_option(found: Option) -> Callable[..., Any]:
    kind: Any = click.Choice(found.choices) if found.choices else found.kind
    default = _default_in_words(found)
    is_flag = found.kind is bool
    return click.option(
        f"--{found.name.replace('_', '-')}",
        found.name,
        type=None if is_flag else kind,
        is_flag=is_flag,
        default=None,
        metavar=found.metavar or None,
        help=found.help if is_flag or not default else f"{found.help}  [default: {default}]",
    )


def _default_in_words(found: Option) -> str:
    """What applies where the option is not given; "" where there is nothing to say."""
    modes: dict[str, list[str]] = {}
    for mode, defaults in MODE_DEFAULTS.items():
        if found.name in defaults:
            modes.setdefault(_shown(defaults[found.name]), []).append(mode)
    parts = [f"mode{'s'[: len(same) > 1]} {', '.join(same)}: {value}" for value, same in modes.items()]
    return "; ".join([_shown(found.default) if found.shown is None else found.shown, *parts])


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tl-toolkit", prog_name="tl-train")
@click.option("--list-recipes", is_flag=True, is_eager=True, expose_value=False, callback=_list_recipes,
              help="Show the recipes and exit.")  # fmt: skip
@click.argument("data")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the run; created if missing.")
@click.option(
    "--recipe",
    "recipes",
    multiple=True,
    metavar="NAME|FILE",
    help="Take the options of a recipe (see --list-recipes); options given here override it. Given more than once, "
    f"all are run and compared.  [default: {DEFAULT_RECIPE}]",
)
@click.option("--seeds", type=click.IntRange(1, 1000), help="Compare runs with this many seeds, from --seed upwards.")
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
@_options_of_config
@click.option(
    "--dry-run", is_flag=True, help="Check the data and the options, print the findings and exit; --out is optional."
)
@click.option(
    "--tensorboard", is_flag=True, help="Write TensorBoard events to OUT/tensorboard; requires the tensorboard package."
)
@click.option("--overwrite", is_flag=True, help="Replace the run in --out, once the new one is complete.")
@click.option("--resume", is_flag=True, help="Continue the unfinished run in --out; give the same options again.")
def command(recipes: tuple[str, ...], **values: Any) -> None:
    """Fine-tune a pretrained network on the images of DATA.

    DATA is cats-dogs (the textbook's 160 images, downloaded once), digits (1797 scanned digits, no download), a
    folder with one sub-folder of images per class (or train/, val/, test/ with those), a CSV file with columns for
    the images and their labels, or a .mat file. The run's folder gets the weights, the figures, the metrics and a
    report.html. The accuracy it reports is measured on test images, which play no part in
    training; where there are none, on validation images.
    """
    job = _Job(**{field.name: values.pop(field.name) for field in dataclasses.fields(_Job)})
    job.check()
    require_extra("train", ("torch", "torchvision", "timm", "lightning_fabric", "onnx", "sklearn", "rich"))
    given = {name: value for name, value in values.items() if value is not None}
    twice = [name for name, count in collections.Counter(recipes).items() if count > 1]
    if twice:
        raise click.UsageError(f"--recipe {twice[0]} is given more than once; --seeds repeats a recipe.")
    configs = _configs(recipes, given)
    if job.resume and (len(configs) > 1 or job.seeds is not None):
        raise click.UsageError("--resume continues one run, not a comparison.")
    _carry_out(job, configs, given)


def _configs(recipes: Iterable[str], given: dict[str, Any]) -> dict[str, TrainConfig]:
    """A configuration for each recipe, with the options given over it."""
    return {name: _config(name, given) for name in tuple(recipes) or (DEFAULT_RECIPE,)}


def _config(recipe: str, given: dict[str, Any]) -> TrainConfig:
    """The configuration that a recipe and options give; where only the recipe can be wrong, its name is said."""
    from tl_train.config import TrainConfig
    from tl_train.errors import ConfigError

    fields = load_recipe(recipe)
    try:
        return TrainConfig.from_fields({**fields, **given})
    except ConfigError as error:
        found, _, _ = str(error).partition(":")
        if found in fields and found not in given:
            raise ConfigError(f"recipe {recipe}: {error}") from error
        raise


def _carry_out(job: _Job, configs: dict[str, TrainConfig], given: Iterable[str]) -> None:
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a home that cannot be written does no harm
    wait_briefly()
    # Only now, so that a mistake in an option is told at once: importing torch takes seconds.
    with loading():
        import tl_train.run.comparison  # noqa: F401 - and with it all that a run needs, before signals may raise
    from tl_train.progress import Progress, TerminalProgress
    from tl_train.training.memory import keep_freed_memory
    from tl_train.training.processes import is_first_process

    work_begins()
    keep_freed_memory()
    progress = TerminalProgress() if is_first_process() else Progress()  # the other processes work in silence
    config = next(iter(configs.values()))
    if len(configs) == 1 and (idle := config.idle_fields(given)):
        named = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        progress.note(f"No effect with mode {config.model.mode} and head_fit {config.head.fit}: {named}")
    if job.dry_run:
        _dry_run(job, configs, progress)
    elif len(configs) > 1 or job.seeds is not None:
        _compare(job, configs, progress)
    else:
        _train(job, config, progress)


def _dry_run(job: _Job, configs: dict[str, TrainConfig], progress: Progress) -> None:
    """Look at what each configuration makes of the data; the folder of a comparison is that of no run."""
    from tl_train import dry_run

    is_comparison = len(configs) > 1 or job.seeds is not None
    for name, config in configs.items():
        if len(configs) > 1:
            progress.note(f"Recipe {name}")
        dry_run(config, None if is_comparison else job.out, progress=progress)


def _compare(job: _Job, configs: dict[str, TrainConfig], progress: Progress) -> None:
    """Run several configurations, or one with several seeds."""
    from tl_train import compare
    from tl_train.run.comparison import as_text
    from tl_train.training.processes import is_first_process

    assert job.out is not None
    rows = compare(
        configs, job.seeds or 1, job.out, overwrite=job.overwrite, tensorboard=job.tensorboard, progress=progress
    )
    if is_first_process():
        with summary():
            click.echo(as_text(rows))
            click.echo(f"Comparison: {printable(str(job.out / 'comparison.html'))}")


def _train(job: _Job, config: TrainConfig, progress: Progress) -> None:
    """Run one configuration."""
    from tl_train import train
    from tl_train.run_folder.workplace import Workplace
    from tl_train.summary import result_lines
    from tl_train.tensorboard import TensorBoardProgress
    from tl_train.training.processes import is_first_process

    assert job.out is not None
    is_first = is_first_process()
    if job.tensorboard and is_first:
        progress = TensorBoardProgress(progress, Workplace.at(job.out).work.events_folder)
    typed = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    result = train(config, job.out, overwrite=job.overwrite, resume=job.resume, progress=progress, command=typed)
    if is_first:
        with summary():
            for line in result_lines(result):
                click.echo(line)
    if result.interrupted:
        raise KeyboardInterrupt  # the run is complete, and the exit code says that it was cut short


def main() -> None:
    """Run `tl-train`; its entry point is in `start`."""
    run_program(command)
