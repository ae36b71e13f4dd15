"""The loss of a batch, and how much of it is right: of images with one label each, or of several labels."""

import math

from torch import Tensor, nn
from torch.nn import functional

from tl_train.errors import TrainingError


def mean_loss(
    logits: Tensor, truth: Tensor, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy; of several labels the mean binary cross-entropy of those that are known.

    Args:
        logits: (N, C).
        truth: int64 (N,), a class each; or float32 (N, C), 1 present, 0 absent, NaN unknown.
        class_weights: float32 (C,), or None; of one label only.
        label_smoothing: of one label only.

    """
    if not truth.is_floating_point():
        return functional.cross_entropy(logits, truth, class_weights, label_smoothing=label_smoothing)
    known = truth.isfinite()
    losses = functional.binary_cross_entropy_with_logits(logits.float(), truth.nan_to_num(0.0), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def count_right(logits: Tensor, truth: Tensor) -> tuple[int, int]:
    """How many answers are right, and how many there are: images, or known labels of images.

    Args:
        logits: (N, C).
        truth: as for `mean_loss`.

    """
    if not truth.is_floating_point():
        return int((logits.argmax(dim=1) == truth).sum()), len(truth)
    known = truth.isfinite()
    return int((((logits > 0) == (truth == 1)) & known).sum()), int(known.sum())


def check_finite(epoch: int, loss: float, rate: float) -> None:
    """See that the mean loss of an epoch is a number.

    Raises:
        TrainingError: it is not; names the learning rate.

    """
    if not math.isfinite(loss):
        raise TrainingError(f"epoch {epoch}: the loss is {loss}, training has diverged; lower --lr ({rate:g})")


def check_weights(module: nn.Module, rate: float) -> None:
    """See that the weights after the last step are numbers: the loss of an epoch is that before its steps.

    Raises:
        TrainingError: they are not; names one, and the learning rate.

    """
    for name, tensor in module.state_dict().items():
        if not tensor.isfinite().all():
            raise TrainingError(f"{name} is NaN or infinite, training has diverged; lower --lr ({rate:g})")
