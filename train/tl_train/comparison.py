"""Several recipes over several seeds on the same data: run all, and a table of mean and spread."""

import csv
import dataclasses
import io
import statistics
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from tl_infer.system.files import write_text
from tl_train.config import TrainConfig
from tl_train.errors import ConfigError
from tl_train.progress import Progress
from tl_train.run import train
from tl_train.run_folder.result import TrainResult
from tl_train.tensorboard import FOLDER as EVENTS
from tl_train.tensorboard import TensorBoardProgress

_TEMPLATE = "comparison.html.j2"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One recipe over all seeds.

    Attributes:
        recipe: its name.
        accuracies: of each seed, on the held-out pictures, 0..1.
        log_losses: of each seed, in nats.
        seconds: training time of each seed.
        parameters: of the network, and how many of them learn.
        confusion: counts (C, C) summed over the seeds; row the true class, column the predicted one.
        labels: class names.
        part: what the accuracies were measured on, `test` or `val`.

    """

    recipe: str
    accuracies: Sequence[float]
    log_losses: Sequence[float]
    seconds: Sequence[float]
    parameters: tuple[int, int]
    confusion: list[list[int]]
    labels: Sequence[str]
    part: str

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return statistics.fmean(self.accuracies)

    @property
    def spread(self) -> float:
        """Standard deviation of the accuracy over the seeds; 0 with a single one."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0


def compare(
    recipes: Mapping[str, TrainConfig],
    seeds: int,
    out: Path,
    *,
    overwrite: bool = False,
    tensorboard: bool = False,
    progress: Progress,
) -> list[Row]:
    """Run every configuration with seeds counting up from its own, each in a folder of its own below `out`.

    Args:
        recipes: name -> configuration.
        seeds: how many runs of each, 1 or more.
        out: folder for the runs, `comparison.csv` and `comparison.html`.
        overwrite: replace earlier runs.
        tensorboard: write the epochs of each run as TensorBoard events, too.
        progress: how to show what goes on.

    Returns:
        A row per recipe, in order; the two files are written anew after each, so an interruption loses none.

    Raises:
        TlError: as `train`; or a configuration that holds no pictures back.

    """
    rows: list[Row] = []
    for name, config in recipes.items():
        results = []
        for seed in range(config.seed, config.seed + seeds):
            progress.note(f"--- {name}, seed {seed}")
            folder = out / f"{_folder_name(name)}-seed{seed}"
            watched = TensorBoardProgress(progress, folder / EVENTS) if tensorboard else progress
            seeded = dataclasses.replace(config, seed=seed)
            results.append(train(seeded, folder, overwrite=overwrite, progress=watched))
        rows.append(_row(name, results))
        write_text(out / "comparison.csv", _csv(rows))
        write_text(out / "comparison.html", _html(config.data.source, rows))
    return rows


def as_text(rows: Sequence[Row]) -> str:
    """The comparison as aligned lines for a terminal."""
    width = max(len("recipe"), *(len(row.recipe) for row in rows))
    header = f"{'recipe':<{width}}  {'accuracy':>9}  {'spread':>7}  {'lowest':>7}  {'highest':>7}  {'log-loss':>8}"
    lines = [f"{header}  {'seconds':>8}  {'trained / all parameters':>24}"]
    for row in rows:
        total, learning = row.parameters
        lines.append(
            f"{row.recipe:<{width}}  {row.mean:>9.2%}  {row.spread:>7.2%}  {min(row.accuracies):>7.2%}  "
            f"{max(row.accuracies):>7.2%}  {statistics.fmean(row.log_losses):>8.3f}  "
            f"{statistics.median(row.seconds):>8.1f}  {f'{learning:,} / {total:,}':>24}"
        )
    return "\n".join(lines)


def _folder_name(recipe: str) -> str:
    return Path(recipe).stem if recipe.endswith(".toml") else recipe


def _row(name: str, results: Sequence[TrainResult]) -> Row:
    evaluations = [result.evaluation for result in results if result.evaluation is not None]
    if len(evaluations) < len(results):
        raise ConfigError(f"recipe {name}: no pictures are held back, so there is nothing to compare; set --val-split")
    return Row(
        recipe=name,
        accuracies=[evaluation.accuracy for evaluation in evaluations],
        log_losses=[evaluation.log_loss for evaluation in evaluations],
        seconds=[result.seconds for result in results],
        parameters=results[0].parameters,
        confusion=np.sum([evaluation.confusion for evaluation in evaluations], axis=0).tolist(),
        labels=results[0].labels,
        part=evaluations[0].part,
    )


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["recipe", "seeds", "part", "accuracy_mean", "accuracy_stdev", "accuracy_min", "accuracy_max",
                     "log_loss_mean", "seconds_median", "parameters", "trained_parameters"])  # fmt: skip
    for row in rows:
        writer.writerow([row.recipe, len(row.accuracies), row.part, row.mean, row.spread, min(row.accuracies),
                         max(row.accuracies), statistics.fmean(row.log_losses), statistics.median(row.seconds),
                         *row.parameters])  # fmt: skip
    return text.getvalue()


def _html(data: str, rows: Sequence[Row]) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    source = resources.files("tl_train.report").joinpath("templates", _TEMPLATE).read_text(encoding="utf-8")
    context: dict[str, Any] = {"data": data, "rows": rows, "best": max(row.mean for row in rows)}
    context["median"] = statistics.median
    context["fmean"] = statistics.fmean
    return environment.from_string(source).render(context)
