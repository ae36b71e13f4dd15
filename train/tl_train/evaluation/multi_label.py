"""What a network says of images that may have several labels, and what that is worth on held-out ones."""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.metrics import average_precision_score

from tl_train.errors import CalibrationError
from tl_train.evaluation.answers import Bools, Floats


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LabelAnswers:
    """A network's answers to N images that may have several of C labels, with the truth.

    Attributes:
        logits: float (N, C), before temperature and sigmoid; N may be 0.
        targets: float (N, C), 1 present, 0 absent, NaN unknown.

    Raises:
        CalibrationError: the shapes do not fit each other, or a logit is not finite.

    """

    logits: npt.NDArray[np.floating]
    targets: npt.NDArray[np.floating]

    def __post_init__(self) -> None:
        if self.logits.ndim != 2 or self.targets.shape != self.logits.shape:
            raise CalibrationError(
                f"logits {self.logits.shape} and targets {self.targets.shape}, expected (N, C) twice"
            )
        if not np.isfinite(self.logits).all():
            raise CalibrationError("logits: found values that are not finite; the training diverged, try a lower --lr")

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def known(self) -> Bools:
        """Whether the truth is known: bool (N, C)."""
        known: Bools = np.isfinite(self.targets)
        return known

    def probabilities(self, temperatures: Floats) -> Floats:
        """sigmoid(logits / temperatures): float64 (N, C), each of its own label."""
        probabilities: Floats = expit(self.logits.astype(np.float64) / temperatures)
        return probabilities

    def log_losses(self, temperatures: Floats) -> Floats:
        """Each image's part in the mean binary cross-entropy over all known labels: (N,), nats, with that mean."""
        losses = binary_losses(self.logits / temperatures, self.targets == 1)
        parts: Floats = np.where(self.known, losses, 0.0).sum(axis=1) * (len(self) / self.known.sum())
        return parts

    def of_label(self, place: int) -> tuple[Floats, Bools]:
        """Logits and truth of one label, of the images where it is known: float64 (n,) and bool (n,)."""
        known = self.known[:, place]
        return self.logits[known, place].astype(np.float64), self.targets[known, place] == 1


@dataclasses.dataclass(frozen=True, slots=True)
class LabelScore:
    """How one label fares on held-out images.

    Attributes:
        present, absent, unknown: images that have the label, that have it not, and of which that is not known; these
            count nowhere.
        predicted: images that are given the label, of those of which it is known.
        average_precision: area under the precision-recall curve, as a step function; None without images that have it.
        precision: share of the predicted that have the label; None when it was never given.
        recall: share of the images that have the label that are given it; None without such images.
        f1: harmonic mean of both; None when it was neither present nor given.

    """

    present: int
    absent: int
    unknown: int
    predicted: int
    average_precision: float | None
    precision: float | None
    recall: float | None
    f1: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class LabelEvaluation:
    """A network's answers on one part of a data set whose images may have several labels.

    Attributes:
        part: `test` or `val`.
        answers: N is one or more.
        temperatures: float (C,), that the logits are divided by.
        thresholds: float (C,): an image is given the label from this probability on.

    """

    part: str
    answers: LabelAnswers
    temperatures: Floats
    thresholds: Floats

    @functools.cached_property
    def probabilities(self) -> Floats:
        """Of all labels, float (N, C)."""
        return self.answers.probabilities(self.temperatures)

    @functools.cached_property
    def predicted(self) -> Bools:
        """The labels that each image is given: bool (N, C)."""
        predicted: Bools = self.probabilities >= self.thresholds
        return predicted

    @property
    def present(self) -> Bools:
        """The labels that each image has: bool (N, C)."""
        present: Bools = self.answers.targets == 1
        return present

    @functools.cached_property
    def scores(self) -> tuple[LabelScore, ...]:
        """Of each label, in order."""
        return tuple(map(self._score, range(self.predicted.shape[1])))

    @property
    def mean_average_precision(self) -> float | None:
        """mAP: the mean of the average precisions; None where no label has one."""
        return _mean([score.average_precision for score in self.scores])

    @property
    def macro_f1(self) -> float | None:
        """The mean of the labels' F1; None where no label has one."""
        return _mean([score.f1 for score in self.scores])

    @property
    def micro_f1(self) -> float | None:
        """F1 over all labels of all images; None where no label is present or given."""
        right, predicted, present = (int(counted.sum()) for counted in self._counted())
        return 2 * right / (predicted + present) if predicted + present else None

    @property
    def exact_matches(self) -> int:
        """Images of which every known label is right."""
        return int(((self.predicted == self.present) | ~self.answers.known).all(axis=1).sum())

    @property
    def log_loss(self) -> float:
        """Mean binary cross-entropy over all known labels of all images, nats."""
        return float(self.answers.log_losses(self.temperatures).mean())

    def co_occurrence(self) -> npt.NDArray[np.int64]:
        """How many images have both labels: (C, C); on the diagonal, how many have the label."""
        present = self.present.astype(np.int64)
        return present.T @ present

    def _counted(self) -> tuple[Bools, Bools, Bools]:
        """Where a label is rightly given, given, and present, as far as known: bool (N, C) each."""
        given = self.predicted & self.answers.known
        return given & self.present, given, self.present

    def _score(self, place: int) -> LabelScore:
        truth = self.answers.of_label(place)[1]
        right, predicted, present = (int(counted[:, place].sum()) for counted in self._counted())
        found = None
        if present:
            known = self.answers.known[:, place]
            found = float(average_precision_score(truth, self.probabilities[known, place]))
        return LabelScore(
            present=present,
            absent=len(truth) - present,
            unknown=len(self.answers) - len(truth),
            predicted=predicted,
            average_precision=found,
            precision=right / predicted if predicted else None,
            recall=right / present if present else None,
            f1=2 * right / (predicted + present) if predicted + present else None,
        )


def binary_losses(logits: npt.NDArray[np.floating], present: Bools) -> Floats:
    """The binary cross-entropy of each logit, nats: float64, of the same shape."""
    losses: Floats = np.logaddexp(0.0, np.where(present, -1.0, 1.0) * logits.astype(np.float64))
    return losses


def label_measurements(evaluation: LabelEvaluation, labels: tuple[str, ...]) -> dict[str, object]:
    """Everything that is measured, as it stands in metrics.json: numbers that are finite, or null where undefined."""
    decided = zip(labels, evaluation.scores, evaluation.thresholds, evaluation.temperatures, strict=True)
    return {
        "part": evaluation.part,
        "pictures": len(evaluation.answers),
        "mean_average_precision": evaluation.mean_average_precision,
        "micro_f1": evaluation.micro_f1,
        "macro_f1": evaluation.macro_f1,
        "exact_matches": evaluation.exact_matches,
        "log_loss": evaluation.log_loss,
        "labels": [
            {"label": label, **dataclasses.asdict(score), "threshold": float(threshold), "temperature": float(divisor)}
            for label, score, threshold, divisor in decided
        ],
        "co_occurrence": evaluation.co_occurrence().tolist(),
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
