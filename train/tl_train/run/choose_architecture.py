"""`--arch auto`: architectures are compared by a penalised head on their frozen features, and one is chosen.

Training images alone have a say: each is judged by a head that was fitted without it.
"""

import dataclasses
import math
import time
from collections.abc import Sequence

import numpy as np

from tl_infer.errors import TlError, first_line
from tl_infer.images import Pixels
from tl_infer.system.parallel import available_threads
from tl_train.config import TrainConfig
from tl_train.config.choices import size_in_words
from tl_train.data.batches import seed_of
from tl_train.data.dataset import Dataset, load_dataset
from tl_train.data.samples import Sample, groups_of, labels_of
from tl_train.data.sources.reading import read_source
from tl_train.data.survey import survey
from tl_train.errors import ConfigError
from tl_train.evaluation.answers import Answers
from tl_train.evaluation.calibration import fit_temperature, temperature_loss
from tl_train.head.features import BackboneFeatures, Features
from tl_train.head.folds import Folding
from tl_train.head.penalised import LinearHead, check_class_counts, fit_penalised_head
from tl_train.head.problem import head_loss, towards
from tl_train.models.network import build_network
from tl_train.preprocess.graph import Preprocessor, spec_for
from tl_train.progress import Progress
from tl_train.run.candidates import Candidate, candidates, is_permissive
from tl_train.run.prepare import prior_for
from tl_train.run_folder.compared import ComparedArchitecture

# Of the run's time limit, what a comparison may take.
_SHARE_OF_TIME = 1 / 3
# So many training images tell architectures apart to one percentage point; more only take longer.
_MOST_IMAGES = 3000
_FEWEST_OF_CLASS = 4
# The head's fit, beside the time of the features.
_WITH_FIT = 1.3

_TIMED_IMAGES, _TIMED_ROUNDS = 4, 5


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """An architecture whose features can be computed.

    Attributes:
        candidate: the architecture.
        features: computes them.
        given: what its head is drawn to.
        ms: of processor time for an image, on one core.
        wall_s: for an image, on a core that others may use too.

    """

    candidate: Candidate
    features: BackboneFeatures
    given: LinearHead
    ms: float
    wall_s: float


def compare_architectures(config: TrainConfig, progress: Progress) -> tuple[ComparedArchitecture, ...]:
    """Judge the architectures that a configuration names and choose one, within a third of its time limit.

    Chosen is the fastest whose cross-validated accuracy is within one standard error of the best; of these, one with
    permissively licensed weights, where there is one.

    Args:
        config: names the architectures; data, input and head are as for the run itself.
        progress: shows what goes on.

    Returns:
        One row for each, in the order compared; exactly one is chosen.

    Raises:
        TlError: the data cannot be trained on, a name is unknown, or no architecture can be used.

    """
    ends = time.monotonic() + 60 * config.model.time_limit * _SHARE_OF_TIME
    found = candidates(config.model, config.input.size_px, progress)
    dataset = load_dataset(config, read_source(config, progress), progress)
    check_class_counts(labels_of(dataset.train), dataset.labels)
    samples = _sample(dataset.train, config.seed)
    progress.note(f"Comparing {len(found)} architectures on {len(samples)} training images")
    ready: list[_Ready] = []
    rows: dict[str, ComparedArchitecture] = {}
    for candidate in found:
        name = candidate.architecture.name
        try:
            one = None if ready and time.monotonic() > ends else _prepare(config, candidate, dataset, samples, progress)
        except TlError as error:
            rows[name] = _row(candidate, note=first_line(error))
            progress.note(f"{name} is left out: {first_line(error)}")
            continue
        if ready and not (one and _fits([*ready, one], len(samples), ends)):
            rows[name] = _row(candidate, ms=one.ms if one else None, note="no time left")
            progress.note(f"{name} is left out: no time left (--time-limit {config.model.time_limit:g})")
        elif one:
            ready.append(one)
            rows[name] = _row(candidate, ms=one.ms)
    if not ready:
        raise ConfigError(f"arch {config.model.arch}: no architecture can be used: {next(iter(rows.values())).note}")
    for judged in _judge(config, dataset, samples, ready, progress):
        rows[judged.name] = judged
    chosen = choose(list(rows.values()))
    progress.note(f"Chosen: {chosen.name} at {chosen.size} px")
    return tuple(dataclasses.replace(row, chosen=row is chosen) for row in rows.values())


def choose(compared: Sequence[ComparedArchitecture]) -> ComparedArchitecture:
    """The fastest within one standard error of the best; permissively licensed ones come first.

    The error counts as at least one image, so that a set on which none errs is not decided by one that another does.
    Where only one could be judged or tried, it is that one.
    """
    judged = [one for one in compared if one.accuracy is not None]
    if not judged:
        return next(one for one in compared if one.ms is not None)
    best = max(judged, key=lambda one: (one.accuracy or 0, -(one.log_loss or 0)))
    least = (best.accuracy or 0) - (best.standard_error or 0)
    equals = [one for one in judged if (one.accuracy or 0) >= least]
    return min(equals, key=lambda one: (not is_permissive(one.licence), one.ms or math.inf))


def with_chosen(config: TrainConfig, compared: Sequence[ComparedArchitecture]) -> TrainConfig:
    """The configuration with the architecture that was chosen, and the size of its input."""
    (chosen,) = (one for one in compared if one.chosen)
    return config.changed(arch=chosen.name, size=config.input.size or _size(chosen.size))


def _size(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _sample(train: Sequence[Sample], seed: int) -> list[Sample]:
    """Training images to compare on: all, or some of each class."""
    labels = labels_of(train)
    share = _MOST_IMAGES / len(train)
    if share >= 1:
        return list(train)
    generator = np.random.default_rng(seed_of(seed, 5))
    chosen: list[int] = []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        chosen += members[: max(_FEWEST_OF_CLASS, round(share * len(members)))].tolist()
    return [train[index] for index in sorted(chosen)]


def _prepare(
    config: TrainConfig, candidate: Candidate, dataset: Dataset, samples: Sequence[Sample], progress: Progress
) -> _Ready:
    """Build a network, make its features ready, and time them.

    Raises:
        TlError: weights cannot be had or do not fit, or the network cannot take the size or be exported.

    """
    architecture, labels = candidate.architecture, dataset.labels
    preprocess = spec_for(config.input, candidate.size, architecture.mean, architecture.std)
    network = build_network(architecture, config.model.weights, len(labels))
    network.check_input(candidate.size)
    prior = prior_for(config, network.pretrained_head, labels, Progress())
    features = BackboneFeatures.of(network, Preprocessor(preprocess), progress)
    images = [sample.load() for sample in samples[:: -(-len(samples) // _TIMED_IMAGES)]]
    given = towards(prior, network.pretrained_head, len(labels), network.head.in_features)
    return _Ready(candidate, features, given, *_times(features, images))


def _times(features: BackboneFeatures, images: Sequence[Pixels]) -> tuple[float, float]:
    """Milliseconds of processor time, which others at work hardly change, and seconds that pass, for a decoded image.

    Each is the mean over images of the quickest of some rounds.
    """
    quickest = []
    for pixels in images:
        times_s = []
        for _ in range(_TIMED_ROUNDS):
            processor_s, wall_s = time.thread_time(), time.perf_counter()
            features(pixels)  # on this thread alone
            times_s.append((time.thread_time() - processor_s, time.perf_counter() - wall_s))
        quickest.append(np.min(times_s, axis=0))
    processor_s, wall_s = np.mean(quickest, axis=0)
    return round(1000 * float(processor_s), 1), float(wall_s)


def _fits(ready: Sequence[_Ready], images: int, ends: float) -> bool:
    """Whether so many images can be judged by all of these before a time of `time.monotonic()`."""
    seconds = sum(_WITH_FIT * images * one.wall_s / available_threads() for one in ready)
    return time.monotonic() + seconds <= ends


def _judge(
    config: TrainConfig, dataset: Dataset, samples: Sequence[Sample], ready: Sequence[_Ready], progress: Progress
) -> list[ComparedArchitecture]:
    """Compute all features in one pass over the images, and fit a head on each."""
    found = survey(samples, [one.features for one in ready], progress, use_cache=not config.data.no_cache)
    truth = labels_of(found.samples)
    loss, folding = head_loss(config, dataset), Folding(config.seed, groups_of(found.samples))
    rows = []
    for one, values in zip(ready, found.values, strict=True):
        features: Features = values
        with progress.counter(f"Judging {one.candidate.architecture.name}") as report:
            head = fit_penalised_head(features, truth, one.given, folding, loss, report)
        rows.append(_judged(one, Answers(head.cross_fitted, truth)))
    return rows


def _judged(one: _Ready, answers: Answers) -> ComparedArchitecture:
    images = len(answers)
    accuracy = float((answers.logits.argmax(axis=1) == answers.truth).mean())
    row = _row(one.candidate, ms=one.ms)
    return dataclasses.replace(
        row,
        accuracy=accuracy,
        standard_error=max(math.sqrt(accuracy * (1 - accuracy) / images), 1 / images),
        log_loss=temperature_loss(answers, fit_temperature(answers)),
    )


def _row(candidate: Candidate, *, ms: float | None = None, note: str = "") -> ComparedArchitecture:
    architecture = candidate.architecture
    return ComparedArchitecture(
        name=architecture.name, size=size_in_words(candidate.size), licence=architecture.licence, ms=ms, note=note
    )
