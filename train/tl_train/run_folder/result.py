"""`TrainResult`: what a finished run hands back."""

import dataclasses
from pathlib import Path

from tl_train.evaluation.calibration import Calibration
from tl_train.evaluation.label_decisions import LabelDecisions
from tl_train.evaluation.label_errors import LabelErrors
from tl_train.evaluation.metrics import Evaluation
from tl_train.evaluation.multi_label import LabelEvaluation
from tl_train.familiarity.rejection import FittedFamiliarity
from tl_train.head.label_heads import LabelHeads
from tl_train.head.penalised import PenalisedHead
from tl_train.history import Epoch, History
from tl_train.prior.prior import Prior
from tl_train.run_folder.compared import ComparedArchitecture


@dataclasses.dataclass(frozen=True, slots=True)
class Tried:
    """One way to train that was tried, judged on images held back.

    Attributes:
        name: what was trained.
        judged: log-loss (nats) and accuracy (0..1) of the images that chose; None where none chose.
        seconds: how long it took.
        kept: whether the run's model is this one.

    """

    name: str
    judged: tuple[float, float] | None
    seconds: float
    kept: bool


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class SeveralLabels:
    """What came of a run whose images may have several labels.

    Attributes:
        evaluation: the answers on the held-out images; None where there are none.
        decisions: temperature and threshold of each label.
        heads: the fit of a head for each label, before any other training.

    """

    evaluation: LabelEvaluation | None
    decisions: LabelDecisions
    heads: LabelHeads | None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TrainResult:
    """A finished run.

    Attributes:
        out: its folder.
        labels: class names.
        history: a row per epoch.
        evaluation: answers on the held-out images; None when none were held back.
        calibration: temperature and abstention threshold, and what they were fitted on.
        seconds: wall time of training, without looking for and decoding the images; of a resumed run, since then.
        kept_epoch: whose weights were kept, counted from 1; 0 where those of the fitted head alone were.
        parameters: of the network in all, and those that learned at the end.
        prior: ImageNet classes that the class names stand for; None without a prior.
        penalised: the penalised fit of the head; None when it was trained by steps.
        tried: the ways to train that were compared, in order; empty where there was but one.
        label_errors: training images whose label may be wrong; None where no head was cross-fitted.
        interrupted: Ctrl-C ended the training early, and the best so far was kept.
        architectures: those that were compared; empty where the configuration names one.
        step_form: memory layout and precision of the steps on the whole network; "" without such steps.
        activation_difference: the largest of a probability between the network on image files and on the float16
            activations that its last stages were trained on; None where they were not.
        familiarity: how familiar images are to the model, and what that rejects; None where that was not asked.
        several: what was found where images may have several labels; `evaluation` is None then, and `calibration` says
            on what its temperatures and thresholds were fitted.

    """

    out: Path
    labels: tuple[str, ...]
    history: list[Epoch]
    evaluation: Evaluation | None
    calibration: Calibration
    seconds: float
    kept_epoch: int
    parameters: tuple[int, int]
    prior: Prior | None = None
    penalised: PenalisedHead | None = None
    tried: tuple[Tried, ...] = ()
    label_errors: LabelErrors | None = None
    interrupted: bool = False
    architectures: tuple[ComparedArchitecture, ...] = ()
    step_form: str = ""
    activation_difference: float | None = None
    familiarity: FittedFamiliarity | None = None
    several: SeveralLabels | None = None

    @staticmethod
    def of_steps(out: Path, history: History, seconds: float) -> "TrainResult":
        """What a process knows that took its share of the steps, and no more: folder, epochs and time."""
        unknown = Calibration(1.0, None, 0, "known to the first process of the run")
        return TrainResult(out, (), history.epochs, None, unknown, seconds, history.kept_epoch, (0, 0))
