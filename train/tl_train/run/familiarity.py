"""How familiar images are to the trained network: fitted on images that it did not learn from, tried on unknown."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tl_infer.errors import ImageError
from tl_train.data.samples import Sample, labels_of
from tl_train.familiarity.fit import MIN_IMAGES, REJECTED, HeldBack, bank_rows, fit_familiarity
from tl_train.familiarity.rejection import FamiliarityReport, FittedFamiliarity, rejected_share, rejections
from tl_train.familiarity.score import Familiarity, Floats
from tl_train.familiarity.unknowns import built_in_unknowns, unknown_files
from tl_train.progress import Progress
from tl_train.run.judge import CROSS_FITTED, TrainedNetwork
from tl_train.run.spare_images import calibration_images
from tl_train.setup import Setup

_OF_EACH = 25  # built-in unknown images: enough to see a set that is not rejected, in a second or two
_MOST_UNKNOWN = 400  # images of the user's folder


def fit_and_try(network: TrainedNetwork, progress: Progress) -> FittedFamiliarity:
    """Fit the familiarity of the trained network and see what it rejects.

    Raises:
        ImageError: an image that could be read before cannot any more.

    """
    if not network.learned.backbone_is_frozen:
        progress.note("Fitting the familiarity: running the trained network on images that it did not learn from")
    held_back = _held_back(network)
    if len(held_back.labels) < MIN_IMAGES:
        return FittedFamiliarity(note=_too_few(held_back, network.learned.backbone_is_frozen))
    train = network.setup.dataset.train
    labels, seed = labels_of(train), network.setup.config.seed
    rows = bank_rows(labels, held_back.embeddings.shape[1], seed)
    bank = network.outputs([train[row] for row in rows]).embeddings
    if len(held_back.labels) == len(train) and held_back.source == CROSS_FITTED:
        in_bank = np.full(len(train), -1, np.int64)
        in_bank[rows] = np.arange(len(rows))
        held_back = dataclasses.replace(held_back, in_bank=in_bank)
    familiarity = fit_familiarity(bank, labels[rows], held_back, seed)
    return FittedFamiliarity(familiarity, _tried(network, familiarity, held_back.source, progress))


def _too_few(held_back: HeldBack, frozen: bool) -> str:
    remedy = "" if frozen else "; hold more back with --val-split"
    return (
        f"No familiarity: {len(held_back.labels)} {held_back.source} are too few (at least {MIN_IMAGES} are needed), "
        f"so the model cannot say which images are unlike those of its training{remedy}"
    )


def _held_back(network: TrainedNetwork) -> HeldBack:
    """Images that had no part in what the network says of them; the validation images where the backbone learned, too.

    On a frozen backbone an embedding is what it is, and cross-fitting gives each training image logits of a head that
    did not see it.
    """
    setup, cross_fitted = network.setup, network.learned.head.cross_fitted
    if network.learned.backbone_is_frozen and cross_fitted is not None:
        train = setup.dataset.train
        return _without_bank(network.outputs(train).embeddings, cross_fitted, labels_of(train), CROSS_FITTED)
    samples, source = calibration_images(setup.config, setup.dataset)
    stages = network.learned.stages
    if not samples and stages is not None and len(stages.unseen):
        samples = [setup.dataset.train[index] for index in stages.unseen]
        outputs = network.run(samples)
        return _without_bank(outputs.embeddings, outputs.logits, labels_of(samples), "training images held back")
    if not samples:
        return _without_bank(np.zeros((0, 1)), np.zeros((0, 2)), labels_of([]), source)
    outputs = network.part("val")
    return _without_bank(outputs.embeddings, outputs.logits, labels_of(samples), source)


def _without_bank(
    embeddings: npt.NDArray[np.floating], logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], source: str
) -> HeldBack:
    return HeldBack(embeddings, logits, labels, np.full(len(labels), -1, np.int64), source)


def _tried(network: TrainedNetwork, familiarity: Familiarity, source: str, progress: Progress) -> FamiliarityReport:
    """What it rejects of the held-out images, of the built-in unknown ones and of the user's."""
    part, samples = network.setup.dataset.held_out()
    known = _familiarities(familiarity, network, part) if samples else np.zeros(0)
    unknown: dict[str, Floats] = {}
    sets = _unknown(network.setup, progress)
    for name, images in progress.steps(sets.items(), "Trying unknown images", len(sets)):
        outputs = network.run(images)
        unknown[name] = familiarity(outputs.embeddings, outputs.logits)
    return FamiliarityReport(
        source=source,
        images=familiarity.images,
        unfamiliar_below=REJECTED,
        weight=familiarity.weight,
        part=part if samples else "",
        held_out=len(known),
        rejected=rejected_share(known, REJECTED) if samples else None,
        unknown=rejections(known, unknown, REJECTED),
    )


def _familiarities(familiarity: Familiarity, network: TrainedNetwork, part: str) -> Floats:
    outputs = network.part(part)
    return familiarity(outputs.embeddings, outputs.logits)


def _unknown(setup: Setup, progress: Progress) -> Mapping[str, Sequence[Sample]]:
    """The sets of unknown images: the built-in ones, and those of the user's folder that can be read."""
    sets = {
        name: [Sample(f"{name}-{number}", 0, pixels=pixels) for number, pixels in enumerate(images)]
        for name, images in built_in_unknowns(_OF_EACH, setup.dataset.labels).items()
    }
    files = unknown_files(setup.config.data.unknown)
    chosen = [files[round(place)] for place in np.linspace(0, len(files) - 1, min(len(files), _MOST_UNKNOWN))]
    readable = []
    for path in chosen:
        sample = Sample(str(path), 0, path=path, limits=setup.config.data.limits)
        try:
            sample.load()
        except ImageError as error:
            progress.note(f"Skipped: {error}")
        else:
            readable.append(sample)
    if readable:
        sets[Path(setup.config.data.unknown).name] = readable
    return sets
