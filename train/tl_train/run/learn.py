"""What is learned, and in which order: the head on a frozen backbone, the last stages, or all parameters."""

import dataclasses
import functools
import math
import time
from pathlib import Path

from tl_infer.errors import TlError
from tl_train.config.choices import TRAINS_STAGES
from tl_train.data.samples import truth_of
from tl_train.errors import RunError, TrainingError
from tl_train.evaluation.calibration import MIN_IMAGES
from tl_train.head.fit_head import FittedHead, features_suffice, fit_head, fit_head_on
from tl_train.head.fit_multi_label import fit_multi_label_head
from tl_train.history import History
from tl_train.progress import Progress
from tl_train.run.others import setup_from, state_for_others
from tl_train.run.spare_images import calibration_images
from tl_train.run_folder.result import Tried
from tl_train.setup import Setup, SharedSetup
from tl_train.training.interpolation import Interpolated, copy_weights, keep_what_pays
from tl_train.training.losses import check_weights
from tl_train.training.partial.partial import HELD_BACK_SHARE, PartialFit, train_partial
from tl_train.training.predict import predict
from tl_train.training.processes import launch, shared
from tl_train.training.step_form import StepForm, choose_form, usual_form

# Of the time that is left, what the epochs may take; then come the figures of the held-out images, and the report.
_SHARE_FOR_EPOCHS = 0.7

# Validation images that say how much of training all parameters is kept; each is looked at once for each alpha.
_MOST_JUDGES = 1000


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What was learned; the network of the setup holds the weights that were kept.

    Attributes:
        history: a row per epoch; of those of the head where nothing else was trained.
        head: the head that was fitted first, if one was.
        head_s: seconds that took.
        stages: what came of training the last stages; None where that was not tried.
        whole: how much was kept of training all parameters; None where that was not tried, or all of it was kept
            because nothing could choose.
        trained_s: seconds that the one or the other took.
        interrupted: Ctrl-C ended the training early; what was finished before is kept.
        form: of the steps on the whole network; None where there were none.

    """

    history: History
    head: FittedHead
    head_s: float = 0.0
    stages: PartialFit | None = None
    whole: Interpolated | None = None
    trained_s: float = 0.0
    interrupted: bool = False
    form: StepForm | None = None

    @property
    def backbone_is_frozen(self) -> bool:
        """Whether the backbone is as it came, so that features computed before tell what the network says."""
        return bool(self.head.epochs) and (not self.history.kept_epoch or self.history.epochs == self.head.epochs)

    def tried(self) -> tuple[Tried, ...]:
        """The head and what was trained from it on, side by side; empty where only one of them was tried."""
        if self.whole is not None:
            return self._side_by_side("all parameters", self.whole)
        if self.stages is not None and (epochs := len(self.stages.history.epochs)):
            return self._side_by_side(f"the stages after {self.stages.cut.name}, {epochs} epochs", self.stages.chosen)
        return ()

    def _side_by_side(self, name: str, chosen: Interpolated) -> tuple[Tried, ...]:
        judged = {one.alpha: (one.log_loss, one.accuracy) for one in chosen.tried}
        kept = chosen.alpha > 0
        alpha = f", alpha {chosen.alpha:g}" if kept else ""
        return (
            Tried("the head, on a frozen backbone", judged.get(0.0), self.head_s, not kept),
            Tried(name + alpha, judged.get(chosen.alpha or 1.0), self.trained_s, kept),
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
    fit = fit_multi_label_head if setup.dataset.has_several else fit_head
    head = fit(setup, progress) if features_suffice(setup.config) else FittedHead([])
    of_head = Learned(History(head.epochs, len(head.epochs)), head, time.perf_counter() - started)
    needs_all = mode not in TRAINS_STAGES and not (mode == "head" and head.epochs)
    if setup.config.steps.devices > 1:
        shared(state_for_others(setup) if needs_all else None)
    if needs_all:
        learned = _learn_all(setup, of_head, out, progress)
    elif mode in TRAINS_STAGES:
        learned = _learn_stages(setup, of_head, out, progress, deadline)
    else:
        learned = of_head
    if learned.backbone_is_frozen:  # what was trained besides, and not kept, did not learn
        setup.network.prepare_for_training("head")
    if not all(math.isfinite(row.train_loss) for row in learned.history.epochs):
        raise TrainingError(f"the loss is NaN or infinite: training diverged; lower --lr ({setup.config.steps.lr:g})")
    check_weights(setup.network.module, setup.config.steps.lr)
    return learned


def learn_along(out: Path) -> History:
    """What the other processes of a run do while the first one is in `learn`: their share of the steps, if any.

    Args:
        out: the run's folder, which they leave alone.

    Returns:
        The epochs, with the figures of all processes; none where no steps were shared.

    Raises:
        TlError: what training raises.

    """
    state = shared(None)
    if state is None:
        return History([], 0)
    setup = setup_from(state)
    return _epochs(setup, usual_form(setup), out, Progress())


def _learn_all(setup: Setup, of_head: Learned, out: Path, progress: Progress) -> Learned:
    """All parameters, from the head on where one was fitted; then as much of that is kept as spare images justify."""
    started = time.perf_counter()
    form = choose_form(setup, out, progress)
    module = setup.network.module
    start = copy_weights(module)
    history = _epochs(setup, form, out, progress)
    learned = dataclasses.replace(of_head, history=history, form=form)
    spare, _ = calibration_images(setup.config, setup.dataset)
    if not of_head.head.epochs or len(spare) < MIN_IMAGES:
        return learned
    judges = spare[:: math.ceil(len(spare) / _MOST_JUDGES)]
    answer = functools.partial(predict, module, judges, setup.preprocessor, progress)
    whole = keep_what_pays(module, start, answer, truth_of(judges))
    progress.note(str(whole))
    trained_s = time.perf_counter() - started
    return dataclasses.replace(learned, history=_as_kept(history, whole), whole=whole, trained_s=trained_s)


def _as_kept(history: History, chosen: Interpolated) -> History:
    """The epochs that were trained, even where the head alone was kept: the curves show why."""
    return history if chosen.alpha > 0 else History(history.epochs, 0)


def _epochs(setup: SharedSetup, form: StepForm, out: Path, progress: Progress) -> History:
    """Epochs on the images themselves, in all processes."""
    from tl_train.training.epochs import train_epochs  # which imports lightning

    fabric = launch(form.precision, setup.config.steps.devices)
    return train_epochs(fabric, setup, out, progress, form.memory_format)


def _learn_stages(setup: Setup, of_head: Learned, out: Path, progress: Progress, deadline: float) -> Learned:
    """The last stages from the fitted head on; with mode auto the head stays where they cannot be trained."""
    is_auto = setup.config.model.mode == "auto"
    if is_auto and (reason := _reason_to_keep_the_head(setup, deadline)):
        progress.note(f"Keeping the head: {reason}")
        return of_head
    started = time.perf_counter()
    limit_s = (deadline - time.monotonic()) * _SHARE_FOR_EPOCHS if is_auto else None
    given = setup.network.module.state_dict()
    kept = {name: tensor.clone() for name, tensor in given.items()}
    try:
        fit = functools.partial(fit_head_on, setup)
        fabric = launch(usual_form(setup).precision)
        stages = train_partial(fabric, setup, fit, out, progress, limit_s)
    except KeyboardInterrupt:
        if not is_auto:
            raise
        progress.note("Keeping the head: interrupted")
        setup.network.module.load_state_dict(kept)
        return dataclasses.replace(of_head, interrupted=True)
    except TlError as error:
        if not is_auto or isinstance(error, RunError):
            raise
        progress.note(f"Keeping the head: the last stages cannot be trained: {error}")
        setup.network.module.load_state_dict(kept)
        return of_head
    history = _as_kept(stages.history, stages.chosen) if stages.history.epochs else of_head.history
    return dataclasses.replace(of_head, history=history, stages=stages, trained_s=time.perf_counter() - started)


def _reason_to_keep_the_head(setup: Setup, deadline: float) -> str:
    """Why training more is not even tried; empty where it is."""
    images = len(setup.dataset.train)
    if images * HELD_BACK_SHARE < MIN_IMAGES:
        return f"{images} training images are too few to hold some back and judge further training by them"
    if time.monotonic() >= deadline:
        return "time limit reached"
    return ""
