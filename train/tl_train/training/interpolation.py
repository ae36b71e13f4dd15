"""Between the weights before and after fine-tuning: as much of the way as images that were held back can justify.

Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022 (WiSE-FT).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tl_train.evaluation.answers import Answers, Floats
from tl_train.evaluation.calibration import fit_temperature
from tl_train.evaluation.label_decisions import fit_label_temperatures
from tl_train.evaluation.multi_label import LabelAnswers
from tl_train.models.weight_files import Weights

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)

Logits = npt.NDArray[np.float32]
Truth = npt.NDArray[Any]  # as `tl_train.data.samples.truth_of` has it: a class each, or the targets of several labels


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class AlphaTried:
    """What weights between start (alpha 0) and end (alpha 1) of a training say of the held-back images.

    Attributes:
        alpha: 0..1.
        losses: log-loss of each image, (N,), nats, at the temperatures that suit these weights best: those are fitted
            anyway, and label smoothing would otherwise count as a mistake. NaN where the weights overflow.
        accuracy: share of correct answers; of several labels, of those that are known.
        logits: (N, C), float32.

    """

    alpha: float
    losses: Floats
    accuracy: float
    logits: Logits

    @staticmethod
    def of(alpha: float, logits: npt.NDArray[np.floating], truth: Truth) -> "AlphaTried":
        """From the answers to the held-back images, and what is true of these."""
        if not np.isfinite(logits).all():
            losses, right = np.full(len(truth), np.nan), np.zeros(1)
        elif truth.ndim == 1:
            answers = Answers(logits, truth)
            losses, right = answers.log_losses(fit_temperature(answers)), logits.argmax(axis=1) == truth
        else:
            several = LabelAnswers(logits, truth)
            losses = several.log_losses(fit_label_temperatures(several))
            right = ((logits > 0) == (truth == 1))[several.known]
        return AlphaTried(alpha, losses, float(right.mean()), logits.astype(np.float32))

    @property
    def log_loss(self) -> float:
        """Mean log-loss, nats."""
        return float(self.losses.mean())


AlphasTried = tuple[AlphaTried, ...]  # one for each of `ALPHAS`


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Interpolated:
    """How much of a training was kept; the network holds these weights.

    Attributes:
        tried: what the held-back images say of the weights between the start (alpha 0) and the end (alpha 1).
        alpha: which of these were kept.
        logits: answers to the held-back images, (N, C), of weights that they had no part in.
        truth: what is true of these images.

    """

    tried: AlphasTried
    alpha: float
    logits: Logits
    truth: Truth

    def __str__(self) -> str:
        losses = ", ".join(f"{one.alpha:g}: {one.log_loss:.3f}" for one in self.tried)
        kept = f"weights interpolated, alpha {self.alpha:g}" if self.alpha else "keeping the head alone (alpha 0)"
        return f"Log-loss on held-back images by alpha (0 the head alone, 1 all that was trained): {losses}; {kept}"

    @staticmethod
    def of(tried: AlphasTried, truth: Truth) -> "Interpolated":
        """What the held-back images, of which `truth` is true, say and choose."""
        return Interpolated(tried, choose_alpha(tried), cross_chosen(tried, truth), truth)


def keep_what_pays(module: nn.Module, start: Weights, answer: Callable[[], Logits], truth: Truth) -> Interpolated:
    """Put the weights that held-back images choose into a network that was trained; see `try_alphas`."""
    end = copy_weights(module)
    chosen = Interpolated.of(try_alphas(module, start, answer, truth), truth)
    interpolate(module, start, end, chosen.alpha)
    return chosen


def try_alphas(module: nn.Module, start: Weights, answer: Callable[[], Logits], truth: Truth) -> AlphasTried:
    """Judge the weights at each of `ALPHAS`.

    Args:
        module: the network, or the part of it that was trained; its weights are the end, and are back afterwards.
        start: its weights before the training.
        answer: the logits of `module` for the held-back images.
        truth: what is true of these.

    """
    end = copy_weights(module)
    tried = []
    for alpha in ALPHAS:
        interpolate(module, start, end, alpha)
        tried.append(AlphaTried.of(alpha, answer(), truth))
    interpolate(module, start, end, 1.0)
    return tuple(tried)


def choose_alpha(tried: Sequence[AlphaTried]) -> float:
    """The alpha nearest to one half whose log-loss is within a standard error of the lowest.

    A few hundred images hardly tell it from its neighbours, and the source finds it good nearly everywhere. Where
    nothing is better than the start by more than a standard error, it is 0. The errors are those of the differences,
    image by image: the same images are hard for all weights.
    """
    start, best = tried[0], min(tried, key=lambda one: one.log_loss)
    if not _is_worse(start, best):
        return start.alpha
    equals = [one.alpha for one in tried[1:] if not _is_worse(one, best)]
    return min(equals, key=lambda alpha: (abs(alpha - 0.5), alpha))


def cross_chosen(tried: Sequence[AlphaTried], truth: Truth) -> Logits:
    """Answers to the held-back images, none of which had a part in its own: to each half at the alpha of the other."""
    half = np.arange(len(truth)) % 2
    logits = np.empty_like(tried[0].logits)
    for here in (0, 1):
        others = [AlphaTried.of(one.alpha, one.logits[half != here], truth[half != here]) for one in tried]
        place = [one.alpha for one in tried].index(choose_alpha(others))
        logits[half == here] = tried[place].logits[half == here]
    return logits


def _is_worse(one: AlphaTried, best: AlphaTried) -> bool:
    """Whether the log-loss is higher by more than a standard error, or no number: such weights overflow."""
    excess = one.losses - best.losses
    error = excess.std(ddof=1) / np.sqrt(len(excess)) if len(excess) > 1 else np.inf
    return not excess.mean() <= error


def interpolate(module: nn.Module, start: Weights, end: Weights, alpha: float) -> None:
    """Put the weights at `alpha` of the way from `start` to `end` into the module; counters are those of the start."""
    module.load_state_dict({
        # No way at all to weights that are NaN or infinite is the start, too.
        name: torch.lerp(tensor, end[name], alpha) if alpha and tensor.is_floating_point() else tensor
        for name, tensor in start.items()
    })  # fmt: skip


def copy_weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """The module's weights as they are now."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
