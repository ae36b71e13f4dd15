"""What is learned, and in which order: the head on a frozen backbone, the last stages, or all parameters."""

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path

from tl_infer.errors import TlError
from tl_train.config.train_config import TRAINS_STAGES
from tl_train.data.samples import Sample
from tl_train.errors import TrainingError
from tl_train.evaluation.calibration import MIN_IMAGES
from tl_train.head.fit_head import FittedHead, features_suffice, fit_head
from tl_train.history import History
from tl_train.progress import Progress
from tl_train.run_folder.result import Tried
from tl_train.setup import Setup
from tl_train.training.partial import OutOfTimeError, StagesTrained, train_stages
from tl_train.training.processes import launch

# Of the time limit, what is left for the figures of the held-out images and the report.
_TIME_FOR_THE_REST = 0.15


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What was learned; the network of the setup holds the weights that were kept.

    Attributes:
        history: a row per epoch.
        head: the head that was fitted first, if one was.
        head_s: seconds that took.
        stages: what came of training the last stages; None where that was not tried.
        stages_s: seconds that took.
        choosing: images that chose between head and stages, so that nothing may be measured on them any more.
        interrupted: Ctrl-C ended the training early; what was finished before is kept.

    """

    history: History
    head: FittedHead
    head_s: float = 0.0
    stages: StagesTrained | None = None
    stages_s: float = 0.0
    choosing: Sequence[Sample] = ()
    interrupted: bool = False

    @property
    def backbone_is_frozen(self) -> bool:
        """Whether the backbone is as it came, so that features computed before tell what the network says."""
        if not self.head.epochs or self.history.epochs != self.head.epochs:
            return self.stages is not None and self.stages.alpha == 0
        return True

    def tried(self) -> tuple[Tried, ...]:
        """Head and last stages side by side; empty where only one of them was tried."""
        if self.stages is None:
            return ()
        kept = self.stages.alpha > 0
        start, end = (self.stages.at(0), self.stages.at(self.stages.alpha or 1))
        share = f", {self.stages.alpha:g} of the way" if kept else ""
        name = f"the stages behind {self.stages.cut.name}, {len(self.stages.history.epochs)} epochs{share}"
        return (
            Tried("the head, on a frozen backbone", start, self.head_s, not kept),
            Tried(name, end, self.stages_s, kept),
        )


def learn(setup: Setup, out: Path, progress: Progress, deadline: float) -> Learned:
    """Train the network of `setup` in place, as its configuration asks for.

    Args:
        setup: the run.
        out: its folder, for checkpoints.
        progress: shows what goes on.
        deadline: of `time.monotonic()`, with mode auto.

    Raises:
        TlError: what training raises.

    """
    mode = setup.config.model.mode
    started = time.perf_counter()
    head = fit_head(setup, progress) if features_suffice(setup.config) else FittedHead([])
    head_s = time.perf_counter() - started
    if mode == "head" and head.epochs:
        learned = Learned(History(head.epochs, len(head.epochs)), head, head_s)
    elif mode in TRAINS_STAGES:
        learned = _learn_stages(
            setup, Learned(History(head.epochs, len(head.epochs)), head, head_s), out, progress, deadline
        )
    else:
        from tl_train.training.epochs import train_epochs  # which imports lightning

        learned = Learned(train_epochs(launch(setup.config.steps), setup, out, progress), head, head_s)
    if not all(math.isfinite(row.train_loss) for row in learned.history.epochs):
        raise TrainingError(
            f"the loss is no finite number; training has diverged, lower --lr ({setup.config.steps.lr:g})"
        )
    return learned


def _learn_stages(setup: Setup, learned: Learned, out: Path, progress: Progress, deadline: float) -> Learned:
    """The last stages from the fitted head on; with mode auto the head stays where they cannot be trained."""
    is_auto = setup.config.model.mode == "auto"
    choosing = _choosing(setup.dataset.val)
    if is_auto and len(choosing) < MIN_IMAGES:
        progress.note(
            f"The head is kept: {len(setup.dataset.val)} validation images cannot tell whether training more would pay"
        )
        return learned
    started = time.perf_counter()
    remaining = (deadline - time.monotonic()) * (1 - _TIME_FOR_THE_REST)
    try:
        stages = train_stages(setup, choosing, out, progress, time.monotonic() + remaining if is_auto else math.inf)
    except OutOfTimeError as error:
        progress.note(f"The head is kept: {error}, more than --time-limit leaves")
        return learned
    except KeyboardInterrupt:
        if not is_auto:
            raise
        progress.note("Interrupted: the finished head is kept")
        return dataclasses.replace(learned, interrupted=True, choosing=choosing)
    except TlError as error:
        if not is_auto:
            raise
        progress.note(f"The head is kept, the last stages cannot be trained: {error}")
        return learned
    progress.note(_told(stages))
    return dataclasses.replace(
        learned,
        history=learned.history if stages.alpha == 0 else stages.history,
        stages=stages, stages_s=time.perf_counter() - started, choosing=choosing,
    )  # fmt: skip


def _choosing(val: Sequence[Sample]) -> list[Sample]:
    """Every second validation image of each class, if that leaves enough to calibrate on; else all."""
    if len(val) < 2 * MIN_IMAGES:
        return list(val)
    seen: dict[int, int] = {}
    chosen = []
    for sample in val:
        seen[sample.label] = seen.get(sample.label, 0) + 1
        if seen[sample.label] % 2:
            chosen.append(sample)
    return chosen


def _told(stages: StagesTrained) -> str:
    """What came of the last stages, in a line."""
    if not stages.tried:
        return f"Last stages trained at {stages.images_per_s:.0f} images/s; no images were held back to compare them by"
    figures = ", ".join(f"{one.alpha:g}: {one.log_loss:.4f} ({one.accuracy:.1%})" for one in stages.tried)
    kept = "the head alone" if stages.alpha == 0 else f"{stages.alpha:g} of the way"
    return (
        f"Last stages trained at {stages.images_per_s:.0f} images/s. Log-loss (accuracy) of images held back, by the "
        f"share of the way from the head to the end: {figures}. Kept: {kept}"
    )
