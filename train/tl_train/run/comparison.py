"""Several recipes over several seeds on the same data: run all, and a table of their accuracy and its deviation."""

import dataclasses
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tl_infer.system.files import write_text
from tl_train.config import TrainConfig
from tl_train.data.samples import PART_NAMES
from tl_train.errors import ConfigError
from tl_train.progress import Progress
from tl_train.report.markup import render_html
from tl_train.run.run import train
from tl_train.run_folder.result import TrainResult
from tl_train.run_folder.workplace import Workplace
from tl_train.tables import aligned, write_csv
from tl_train.tensorboard import TensorBoardProgress
from tl_train.training.processes import is_first_process

_CSV_HEADER = (
    "recipe", "seeds", "part", "accuracy_mean", "accuracy_stdev", "accuracy_min", "accuracy_max", "log_loss_mean",
    "seconds_median", "parameters", "trained_parameters",
)  # fmt: skip
_TEMPLATE = "comparison.html.j2"
_MAX_ERRORS = 12  # kinds of errors that the page lists of a recipe
_HEADER = ("recipe", "accuracy", "stdev", "min", "max", "log-loss", "seconds", "trained / all parameters")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class RecipeResult:
    """What one recipe came to over all seeds.

    Attributes:
        recipe: its name.
        accuracies: of each seed, on the held-out images, 0..1.
        log_losses: of each seed, in nats.
        seconds: training time of each seed.
        parameters: of the network, and how many of them learn.
        confusion: counts (C, C) summed over the seeds; row the true class, column the predicted one.
        labels: class names.
        part: what the accuracies were measured on, `test` or `val`.
        images: how many images these are.

    """

    recipe: str
    accuracies: Sequence[float]
    log_losses: Sequence[float]
    seconds: Sequence[float]
    parameters: tuple[int, int]
    confusion: list[list[int]]
    labels: Sequence[str]
    part: str
    images: int

    @property
    def accuracy(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.accuracies)

    @property
    def accuracy_stdev(self) -> float | None:
        """Standard deviation of the accuracy over the seeds; None with a single one, which tells none."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def log_loss(self) -> float:
        """Mean over the seeds, in nats."""
        return statistics.fmean(self.log_losses)

    @property
    def errors(self) -> list[tuple[str, str, int]]:
        """True class, predicted class and how often, the most frequent error first."""
        found = [
            (truth, predicted, count)
            for truth, row in zip(self.labels, self.confusion, strict=True)
            for predicted, count in zip(self.labels, row, strict=True)
            if count and truth != predicted
        ]
        return sorted(found, key=lambda error: -error[2])

    @property
    def median_s(self) -> float:
        """Median training time, seconds."""
        return statistics.median(self.seconds)


def compare(
    recipes: Mapping[str, TrainConfig],
    seeds: int,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    tensorboard: bool = False,
    progress: Progress | None = None,
) -> list[RecipeResult]:
    """Run every configuration with seeds counting up from its own, each in a folder of its own below `out`.

    Args:
        recipes: name -> configuration.
        seeds: how many runs of each, 1 or more.
        out: folder for the runs, `comparison.csv` and `comparison.html`.
        overwrite: replace earlier runs.
        tensorboard: write the epochs of each run as TensorBoard events, too.
        progress: how to show what goes on; silent when None.

    Returns:
        One per recipe, in order; the two files are written anew after each, so an interruption loses none. None in any
        process but the first of several.

    Raises:
        TlError: as `train`; or a configuration that holds no images back, or recipes of the same name.

    """
    _check_comparable(recipes)
    out, progress, is_first = Path(out), progress or Progress(), is_first_process()
    found: list[RecipeResult] = []
    for name, config in recipes.items():
        results = []
        for seed in range(config.seed, config.seed + seeds):
            progress.note(f"--- {name}, seed {seed}")
            folder = out / f"{_folder_name(name)}-seed{seed}"
            watched = progress
            if tensorboard and is_first:
                watched = TensorBoardProgress(progress, Workplace.at(folder).work.events_folder)
            seeded = dataclasses.replace(config, seed=seed)
            results.append(train(seeded, folder, overwrite=overwrite, progress=watched))
            if is_first and results[-1].evaluation is None:
                raise ConfigError(
                    f"recipe {name}: no images are held back, so there is nothing to compare; set --val-split"
                )
        if is_first:
            found.append(_result(name, results))
            if other := _judged_otherwise(found):
                progress.note(f"Warning: {other}")
            _write(found, config.data.source, out)
    return found


def _check_comparable(recipes: Mapping[str, TrainConfig]) -> None:
    folders: dict[str, str] = {}
    for name, config in recipes.items():
        if config.data.multi_label:
            raise ConfigError(
                f"{name}: runs with multi_label cannot be compared by their accuracy; train one at a time"
            )
        other = folders.setdefault(_folder_name(name), name)
        if other != name:
            raise ConfigError(f"recipes {other} and {name}: both would be written to {_folder_name(name)}-seed"
                              f"{config.seed}; rename one of the files")  # fmt: skip


def _judged_otherwise(found: Sequence[RecipeResult]) -> str:
    """What to say where the recipes were not judged on the same images; else ""."""
    judged = {f"{one.recipe} on {one.images} {PART_NAMES[one.part]} images": (one.part, one.images) for one in found}
    if len(set(judged.values())) == 1:
        return ""
    return f"the recipes were judged on different images, so their accuracies are not comparable: {', '.join(judged)}"


def _write(found: Sequence[RecipeResult], data: str, out: Path) -> None:
    write_csv(out / "comparison.csv", _CSV_HEADER, map(_csv_row, found))
    best = max(result.accuracy for result in found)
    least = min(min(result.accuracies) for result in found)
    scale_from = min(0.5, math.floor(10 * least) / 10)
    page = render_html(
        _TEMPLATE, data=data, results=found, best=best, scale_from=scale_from, max_errors=_MAX_ERRORS,
        otherwise=_judged_otherwise(found),
    )  # fmt: skip
    write_text(out / "comparison.html", page)


def as_text(results: Sequence[RecipeResult]) -> str:
    """The comparison as aligned lines for a terminal."""
    return "\n".join(aligned([_HEADER, *map(_text_row, results)], names=1))


def _text_row(result: RecipeResult) -> tuple[str, ...]:
    total, learning = result.parameters
    return (
        result.recipe,
        f"{result.accuracy:.2%}",
        "-" if result.accuracy_stdev is None else f"{result.accuracy_stdev:.2%}",
        f"{min(result.accuracies):.2%}",
        f"{max(result.accuracies):.2%}",
        f"{result.log_loss:.3f}",
        f"{result.median_s:.1f}",
        f"{learning:,} / {total:,}",
    )


def _csv_row(result: RecipeResult) -> tuple[object, ...]:
    accuracies = result.accuracies
    return (
        result.recipe, len(accuracies), result.part, result.accuracy, result.accuracy_stdev, min(accuracies),
        max(accuracies), result.log_loss, result.median_s, *result.parameters,
    )  # fmt: skip


def _folder_name(recipe: str) -> str:
    return Path(recipe).stem if recipe.endswith(".toml") else recipe


def _result(name: str, results: Sequence[TrainResult]) -> RecipeResult:
    evaluations = [result.evaluation for result in results if result.evaluation is not None]
    return RecipeResult(
        recipe=name,
        accuracies=[evaluation.accuracy for evaluation in evaluations],
        log_losses=[evaluation.log_loss for evaluation in evaluations],
        seconds=[result.seconds for result in results],
        parameters=results[0].parameters,
        confusion=np.sum([evaluation.confusion for evaluation in evaluations], axis=0).tolist(),
        labels=results[0].labels,
        part=evaluations[0].part,
        images=len(evaluations[0].truth),
    )
