"""What the penalised fit of a run's head solves: the head that it is drawn to, the loss, the folds."""

import dataclasses
from collections.abc import Callable

from tl_train.config import TrainConfig
from tl_train.data.dataset import Dataset
from tl_train.data.samples import groups_of
from tl_train.head.cross_validation import Labels
from tl_train.head.features import Features
from tl_train.head.folds import Folding
from tl_train.head.label_heads import Floats32, LabelHeads, fit_label_heads
from tl_train.head.loss import Loss
from tl_train.head.penalised import LinearHead, PenalisedHead, fit_penalised_head, silent
from tl_train.models.starting_weights import WeightAndBias
from tl_train.prior.prior import Prior
from tl_train.training.optim import class_weights


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class HeadProblem:
    """All that the fit depends on besides the features.

    Attributes:
        towards: the head that the fit is drawn to; zero where the class names say nothing.
        loss: weights and label smoothing.
        folding: how the images are divided for cross-validation.

    """

    towards: LinearHead
    loss: Loss
    folding: Folding

    def fit(self, features: Features, labels: Labels, report: Callable[[int, int], None] = silent) -> PenalisedHead:
        """The penalised head of these images.

        Args:
            features: float32 (N, D), of training images.
            labels: int64 (N,).
            report: called with the parts done and all there are, several times a second.

        Raises:
            DataError: as `fit_penalised_head`.

        """
        return fit_penalised_head(features, labels, self.towards, self.folding, self.loss, report)


@dataclasses.dataclass(frozen=True, slots=True)
class LabelHeadProblem:
    """Likewise of a head for several labels, each of which is drawn to zero.

    Attributes:
        folding: how the images are divided for cross-validation.

    """

    folding: Folding

    def fit(self, features: Features, targets: Floats32, report: Callable[[int, int], None] = silent) -> LabelHeads:
        """The heads of these images, one for each label.

        Args:
            features: float32 (N, D), of training images.
            targets: float32 (N, C), 1 present, 0 absent, NaN unknown.
            report: as for `HeadProblem.fit`.

        Raises:
            DataError: as `fit_label_heads`.

        """
        return fit_label_heads(features, targets, self.folding, report)


def towards(prior: Prior | None, pretrained: WeightAndBias | None, classes: int, width: int) -> LinearHead:
    """The head that the penalised one is drawn to: what the class names say, or zero.

    Args:
        prior: what the class names say; None for nothing.
        pretrained: the head that came with the weights, weight (K, D) and bias (K,).
        classes: C, of the new head.
        width: D, features that it sees.

    """
    if prior is not None and pretrained is not None:
        return LinearHead(*prior.head(*pretrained))
    return LinearHead.zero(classes, width)


def head_loss(config: TrainConfig, dataset: Dataset) -> Loss:
    """The loss of the head. Where steps follow, the smoothing is theirs: a head that fits has nothing left to learn."""
    model = config.model
    weights = class_weights(model.class_weights, dataset.train, len(dataset.labels))
    smoothing = model.label_smoothing if model.mode == "head" else 0.0
    return Loss(None if weights is None else weights.numpy(), None, smoothing)


def folding_of(config: TrainConfig, dataset: Dataset) -> Folding:
    """How the training images are divided for cross-validation."""
    return Folding(config.seed, groups_of(dataset.train))
