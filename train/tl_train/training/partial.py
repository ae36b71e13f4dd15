"""Mode `partial`: the first stages of the network stay frozen, what lies behind them is trained on what they say.

The frozen stages see each image once, through onnxruntime; an epoch then costs a fraction of one on all of the network.
Training starts from the fitted head, and as much of it is kept as held-back training images justify, none if need be.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import nn

from tl_train.data.batches import seed_of
from tl_train.data.samples import Sample, labels_of
from tl_train.data.split import split
from tl_train.evaluation.answers import Answers
from tl_train.history import History
from tl_train.models.new_head import set_linear
from tl_train.models.onnx_network import FrozenNetwork, open_onnx
from tl_train.models.stages import Cut, Stages
from tl_train.progress import Progress
from tl_train.setup import Setup
from tl_train.training.activation_store import ActivationCache, keep_activations
from tl_train.training.activations import FrozenStages, StreamedActivations
from tl_train.training.interpolation import AlphaTried, choose_alpha, copy_weights, interpolate, try_alphas
from tl_train.training.last_stages import LastStages, StagesTrained, StageTraining
from tl_train.training.optim import class_weights
from tl_train.training.predict import predict

# Of the training images; these choose how much of the training is kept.
HELD_BACK_SHARE = 0.15
MOST_HELD_BACK = 500

# What mirroring may add to the log-loss of the head alone, nats; of photographs it is about nothing.
_HARMLESS = 0.1

_COMPARED = 64  # images whose probabilities are computed from their files, too

Ints = npt.NDArray[np.int64]
FitHead = Callable[[Ints], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class PartialFit:
    """How the training of the last stages went; the network holds the weights that were kept.

    Attributes:
        history: a row per epoch; empty where the time did not suffice for one.
        cut: where the network was cut.
        tried: what the held-back images say of the weights between the head alone (alpha 0) and the end (alpha 1).
        alpha: which of these were kept.
        images_per_s: in the epochs; 0 without any.
        largest_difference: of a probability, between the network on image files and on activations in float16.

    """

    history: History
    cut: Cut
    tried: tuple[AlphaTried, ...]
    alpha: float
    images_per_s: float
    largest_difference: float


def train_partial(
    fabric: Fabric, setup: Setup, fit_head: FitHead, out: Path, progress: Progress, limit_s: float | None = None
) -> PartialFit:
    """Train the last stages of the network in place, from its head on; a checkpoint follows every epoch.

    Args:
        fabric: device and precision; one process.
        setup: the run; its network has the head that was fitted on all training images, and is on the CPU afterwards.
        fit_head: fits such a head on some of the training images, by index: weight (C, D), bias (C,). Those that are
            held back must be new to the head, too, or it would seem better than it is.
        out: the run's folder; continued from its checkpoint where there is one.
        progress: shows what goes on.
        limit_s: how long the epochs may take, where the configuration leaves their number open; None for no limit.

    Raises:
        ConfigError: the network cannot be cut, or not where the configuration says.
        DataError: a class has too few images to hold one back.
        RunError: the checkpoint in `out` belongs to other data, another configuration or other versions.
        OutputPathError: the disk has no room for the activations, or a file cannot be written.
        TrainingError: the loss is no longer a finite number, or activations are too large for float16.

    """
    network, dataset = setup.network, setup.dataset
    cut, trunk, rest = _split(setup, progress)
    trained, held_back = hold_back(dataset.train, dataset.labels, setup.config.seed)
    frozen = _frozen(setup, trunk, cut, progress)
    given = copy_weights(rest)
    weight, bias = fit_head(trained)
    set_linear(network.head, torch.from_numpy(weight), torch.from_numpy(bias))
    network.module.to(fabric.device)
    stages = LastStages(rest, StreamedActivations(frozen), labels_of(dataset.train), trained)
    mirrored = setup.config.steps.augment != "none" and _mirroring_is_harmless(stages, held_back, progress)
    cache = ActivationCache(keep=not setup.config.data.no_cache, mirrored=mirrored)
    with contextlib.closing(keep_activations(frozen, cache, progress)) as activations:
        stages = dataclasses.replace(stages, activations=activations, mirrored=mirrored)
        weights = class_weights(setup.config.model.class_weights, dataset.train, len(dataset.labels))
        training = StageTraining(fabric, stages, setup.identity, out, progress)
        done = training.run(None if weights is None else weights.to(fabric.device), limit_s)
        tried = try_alphas(rest, done.start, lambda: stages.answers(held_back))
        alpha = choose_alpha(tried) if done.history else 0.0
        interpolate(rest, done.start, copy_weights(rest), alpha)
        network.module.cpu()
        if alpha == 0:
            rest.load_state_dict(given)
        compared = held_back[:_COMPARED]
        files = [dataset.train[index] for index in compared]
        difference = _largest_difference(stages.answers(compared), predict(network.module, files, setup.preprocessor))
    rate = _images_per_s(done, len(trained))
    for line in _summary(tried, alpha, rate):
        progress.note(line)
    return PartialFit(History(done.history, len(done.history)), cut, tried, alpha, rate, difference)


def hold_back(samples: Sequence[Sample], labels: Sequence[str], seed: int) -> tuple[Ints, Ints]:
    """The training images to train on, and those that choose how much of the training is kept, by index.

    Raises:
        DataError: a class has too few images.

    """
    share = min(HELD_BACK_SHARE, MOST_HELD_BACK / len(samples))
    place = {id(sample): index for index, sample in enumerate(samples)}
    kept, held_back = split(samples, labels, share, seed_of(seed, 4))
    return np.array([place[id(sample)] for sample in kept]), np.array([place[id(sample)] for sample in held_back])


def _split(setup: Setup, progress: Progress) -> tuple[Cut, nn.Module, nn.Module]:
    """Where to cut the network, what stays frozen, and what is trained."""
    network, wanted = setup.network, setup.config.model.freeze_until
    stages = Stages(network.module, setup.preprocessor.spec.size, network.architecture.name)
    cut = stages.named(wanted) if wanted else stages.choose()
    trunk, rest = stages.split(cut)
    trunk.requires_grad_(False)
    progress.note(f"Frozen until {cut.name}: {cut.share:.0%} of the multiplications are left to train")
    return cut, trunk, rest


def _frozen(setup: Setup, trunk: nn.Module, cut: Cut, progress: Progress) -> FrozenStages:
    """The frozen stages with the training images."""
    dataset, preprocessor = setup.dataset, setup.preprocessor
    frozen = FrozenNetwork(trunk, f"{setup.network.architecture.name} until {cut.name}", preprocessor.spec.size)
    return FrozenStages(
        trunk=open_onnx(frozen, progress),
        preprocessor=preprocessor,
        samples=dataset.train,
        digests=[dataset.looks["checksum"][sample.row].tobytes() for sample in dataset.train],
    )


def _mirroring_is_harmless(stages: LastStages, images: Ints, progress: Progress) -> bool:
    """Whether the head alone tells mirrored images apart about as well; of digits or writing it does not."""
    plain, mirrored = (AlphaTried.of(0.0, stages.answers(images, mirrored=mirrored)) for mirrored in (False, True))
    excess = mirrored.losses - plain.losses
    error = excess.std() / np.sqrt(len(excess))
    harmless = bool(excess.mean() <= max(_HARMLESS, 2 * error))
    if not harmless:
        losses = f"log-loss {plain.log_loss:.2f}, mirrored {mirrored.log_loss:.2f}"
        progress.note(f"Images are not mirrored: the head takes mirrored ones for others ({losses})")
    return harmless


def _largest_difference(answers: Answers, logits: npt.NDArray[np.float32]) -> float:
    others = Answers(logits, answers.truth)
    return float(np.abs(answers.probabilities() - others.probabilities()).max())


def _images_per_s(done: StagesTrained, images: int) -> float:
    seconds = sum(row.seconds for row in done.history)
    return images * len(done.history) / seconds if seconds else 0.0


def _summary(tried: Sequence[AlphaTried], alpha: float, rate: float) -> list[str]:
    """What was found, for the user."""
    losses = ", ".join(f"{one.alpha:g}: {one.log_loss:.3f}" for one in tried)
    kept = f"{alpha:.0%} of the way from the head alone is kept" if alpha else "the head alone is kept"
    return [f"Trained at {rate:.0f} images/s", f"Log-loss of images held back, by alpha: {losses}; {kept}"]
