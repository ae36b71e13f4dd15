"""Between the weights before and after fine-tuning: as much of the way as images that were held back can justify.

Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022 (WiSE-FT).
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax
from torch import nn

from tl_train.evaluation.calibration import fit_temperature

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)

Weights = Mapping[str, torch.Tensor]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class AlphaTried:
    """What weights between start (alpha 0) and end (alpha 1) of the training say of the held-back images.

    Attributes:
        alpha: 0..1.
        losses: log-loss of each image, float64 (N,), nats, at the temperature that suits these weights best: the
            temperature is fitted anyway, and label smoothing would otherwise count as a mistake.
        accuracy: share of correct answers.

    """

    alpha: float
    losses: npt.NDArray[np.float64]
    accuracy: float

    @property
    def log_loss(self) -> float:
        """Mean log-loss, nats."""
        return float(self.losses.mean())


def try_alphas(
    module: nn.Module,
    start: Weights,
    logits: Callable[[], npt.NDArray[np.float32]],
    truth: npt.NDArray[np.int64],
) -> tuple[AlphaTried, ...]:
    """Judge the weights at each of `ALPHAS`; those of `module` are the end, and are back in it afterwards.

    Args:
        module: the network, or the part of it that was trained.
        start: its weights before the training.
        logits: what `module` says of the held-back images, float32 (N, C).
        truth: their classes.

    """
    end = copy_weights(module)
    tried = []
    for alpha in ALPHAS:
        interpolate(module, start, end, alpha)
        found = logits()
        scaled = found.astype(np.float64) / fit_temperature(found, truth)
        losses = -log_softmax(scaled, axis=1)[np.arange(len(truth)), truth]
        tried.append(AlphaTried(alpha, losses, float((found.argmax(axis=1) == truth).mean())))
    module.load_state_dict(end)
    return tuple(tried)


def choose_alpha(tried: tuple[AlphaTried, ...]) -> float:
    """The smallest alpha whose log-loss is within one standard error of the best.

    The error is that of the difference, image by image: the same images are hard for all of them.
    """
    best = min(tried, key=lambda one: one.log_loss)
    for one in sorted(tried, key=lambda one: one.alpha):
        difference = one.losses - best.losses
        if difference.mean() <= difference.std(ddof=1) / np.sqrt(len(difference)):
            return one.alpha
    return best.alpha


def interpolate(module: nn.Module, start: Weights, end: Weights, alpha: float) -> None:
    """Put the weights at `alpha` of the way from `start` to `end` into the module; counters are those of the start."""
    between = {
        name: torch.lerp(tensor, end[name], alpha) if tensor.is_floating_point() else tensor
        for name, tensor in start.items()
    }
    module.load_state_dict(between)


def copy_weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """The module's weights as they are now."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
