"""What the penalised fit of a run's head solves: the head that it is drawn to, the loss, the seed of the folds."""

import dataclasses
from collections.abc import Callable

from tl_train.config import TrainConfig
from tl_train.data.dataset import Dataset
from tl_train.head.features import CachedPart
from tl_train.head.loss import Loss
from tl_train.head.penalised import LinearHead, PenalisedHead, fit_penalised_head
from tl_train.models.starting_weights import WeightAndBias
from tl_train.prior.prior import Prior
from tl_train.training.optim import class_weights


def _silent(done: int, total: int) -> None:
    del done, total


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class HeadProblem:
    """All that the fit depends on besides the features.

    Attributes:
        towards: the head that the fit is drawn to; zero where the class names say nothing.
        loss: weights and label smoothing.
        seed: of the folds.

    """

    towards: LinearHead
    loss: Loss
    seed: int

    def fit(self, part: CachedPart, report: Callable[[int, int], None] = _silent) -> PenalisedHead:
        """The penalised head of these images.

        Args:
            part: features (N, D) and labels of training images.
            report: called with the parts done and all there are, several times a second.

        Raises:
            DataError: as `fit_penalised_head`.

        """
        return fit_penalised_head(part.features, part.labels, self.towards, self.seed, self.loss, report)


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
