"""Mode `partial`: the first stages of the network stay frozen, those after them are trained on their activations.

The frozen stages see each image once, through onnxruntime; an epoch then costs a fraction of one on all of the network.
Training starts from the fitted head, and as much of it is kept as held-back training images justify, none if need be.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from tl_train.data.batches import seed_of
from tl_train.data.samples import Sample, labels_of
from tl_train.data.split import split
from tl_train.evaluation.answers import Answers, Ints
from tl_train.history import History
from tl_train.models.new_head import set_linear
from tl_train.models.onnx_network import FrozenNetwork, open_onnx
from tl_train.models.stages import Cut, Stages
from tl_train.models.starting_weights import WeightAndBias
from tl_train.models.weight_files import Weights
from tl_train.progress import Progress
from tl_train.setup import Setup
from tl_train.training.interpolation import AlphaTried, Interpolated, copy_weights, interpolate, try_alphas
from tl_train.training.losses import check_weights
from tl_train.training.optim import class_weights
from tl_train.training.partial.activation_store import ActivationCache, keep_activations
from tl_train.training.partial.activations import FrozenStages, StreamedActivations
from tl_train.training.partial.last_stages import LastStages
from tl_train.training.partial.stage_training import StagesTrained, StageTraining, epochs_that_pay
from tl_train.training.predict import predict

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # which takes seconds to import

# Of the training images; these choose how much of the training is kept.
HELD_BACK_SHARE = 0.15
MOST_HELD_BACK = 300

# Up to so many images a second training, on all of them, costs little and makes up for those that were held back:
# clothing photos, 1000, log-loss 0.33 instead of 0.36.
TRAINED_AGAIN = 2000

# What mirroring may add to the log-loss of the head alone, nats; of photographs it is about nothing.
_HARMLESS = 0.1

_COMPARED = 64  # images whose probabilities are computed from their files, too

FitHead = Callable[[Ints], WeightAndBias]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class PartialFit:
    """How the training of the last stages went; the network holds the weights that were kept.

    Attributes:
        history: a row per epoch; empty where the time did not suffice for one.
        cut: where the network was cut.
        chosen: how much of the way from the head alone to the end was kept.
        images_per_s: in the epochs; 0 without any.
        largest_difference: of a probability, between the network on image files and on activations in float16.
        unseen: indices of the training images that were held back to the end.

    """

    history: History
    cut: Cut
    chosen: Interpolated
    images_per_s: float
    largest_difference: float
    unseen: Ints


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
        TrainingError: the loss or a weight is no longer a finite number, or activations are too large for float16.

    """
    network, dataset = setup.network, setup.dataset
    cut, trunk, rest = _split(setup, progress)
    trained, held_back = hold_back(dataset.train, dataset.labels, setup.config.seed)
    frozen = _frozen(setup, trunk, cut, progress)
    given = copy_weights(rest)
    set_linear(network.head, *map(torch.from_numpy, fit_head(trained)))
    network.module.to(fabric.device)
    stages = LastStages(rest, StreamedActivations(frozen), labels_of(dataset.train), trained)
    mirrored = setup.config.steps.augment != "none" and _mirroring_is_harmless(stages, held_back, progress)
    cache = ActivationCache(keep=not setup.config.data.no_cache, mirrored=mirrored)
    with contextlib.closing(keep_activations(frozen, cache, progress)) as activations:
        stages = dataclasses.replace(stages, activations=activations, mirrored=mirrored)
        wanted = setup.config.model.class_weights
        weights = class_weights(wanted, dataset.train, len(dataset.labels), fabric.device)
        training = StageTraining(fabric, setup.identity, out, progress, weights)
        done, chosen = _train(training, stages, held_back, given, _epochs(setup, stages, limit_s))
        check_weights(network.module.cpu(), setup.config.steps.lr)
        difference = _largest_difference(setup, stages, held_back[:_COMPARED])
    history = History(done.history, len(done.history))
    unseen = held_back if len(stages.labels) > TRAINED_AGAIN else held_back[:0]
    fitted = PartialFit(history, cut, chosen, done.images_per_s, difference, unseen)
    progress.note(f"Trained at {fitted.images_per_s:.0f} images/s")
    progress.note(str(chosen))
    return fitted


def _train(
    training: StageTraining, stages: LastStages, held_back: Ints, given: Weights, epochs: int
) -> tuple[StagesTrained, Interpolated]:
    """Train without the images that are held back, choose alpha by them, and train again with them where that is cheap.

    Args:
        training: of the run.
        stages: to be trained in place, from weights that the held-back images had no part in.
        held_back: by index.
        given: the weights to start from where all images have a part, and to come back to where training does not pay.
        epochs: of each training.

    Returns:
        The last training, and what the held-back images said and chose.

    """
    again = len(stages.labels) <= TRAINED_AGAIN
    done, tried, labels = StagesTrained(given), training.tried, stages.labels[held_back]
    if tried is None:
        done = training.run(stages, epochs, trial=again)
        tried = try_alphas(stages.module, done.start, lambda: stages.answers(held_back).logits, labels)
    chosen = Interpolated.of(tried, labels)
    if chosen.alpha == 0:
        stages.module.load_state_dict(given)
        return done, chosen
    if again:
        stages.module.load_state_dict(given)
        done = training.run(
            dataclasses.replace(stages, trained=np.arange(len(stages.labels))), len(done.history), tried
        )
    interpolate(stages.module, done.start, copy_weights(stages.module), chosen.alpha)
    return done, chosen


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
    progress.note(f"Frozen through {cut.name}; {cut.share:.0%} of the multiply-adds trainable")
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
    both = (stages.answers(images, mirrored=mirrored) for mirrored in (False, True))
    plain, mirrored = (AlphaTried.of(0.0, answers.logits, answers.truth) for answers in both)
    excess = mirrored.losses - plain.losses
    error = excess.std() / np.sqrt(len(excess))
    harmless = bool(excess.mean() <= max(_HARMLESS, 2 * error))
    if not harmless:
        losses = f"log-loss {plain.log_loss:.2f}, mirrored {mirrored.log_loss:.2f}"
        progress.note(f"Images are not mirrored: the head misclassifies mirrored ones ({losses})")
    return harmless


def _epochs(setup: Setup, stages: LastStages, limit_s: float | None) -> int:
    """How many epochs each training has."""
    steps, images = setup.config.steps, len(stages.labels)
    if steps.epochs:
        return steps.epochs
    epochs = epochs_that_pay(images, steps.batch_size)
    if limit_s is None:
        return epochs
    trainings = 2 if images <= TRAINED_AGAIN else 1
    return int(min(epochs, limit_s * stages.images_per_s(steps.batch_size) / (trainings * images)))


def _largest_difference(setup: Setup, stages: LastStages, images: Ints) -> float:
    """Of a probability, between the activations in float16 and the network on the image files."""
    here = stages.answers(images)
    files = [setup.dataset.train[index] for index in images]
    there = Answers(predict(setup.network.module, files, setup.preprocessor), here.truth)
    return float(np.abs(here.probabilities() - there.probabilities()).max())
