"""The proof: the PyTorch model against the real Classifier, on image files, stage by stage."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tl_export.errors import VerificationError
from tl_export.options import Precision
from tl_export.proof.coherence import Coherence
from tl_export.proof.independent import IndependentRoute
from tl_export.proof.precision import OF_INT8, RULES, Rule
from tl_export.proof.proof import Independent, Proof, RuntimeCheck, compared_by
from tl_export.proof.routes import FileRoute, TorchRoute
from tl_export.proof.stages import (
    LABEL,
    UNITS,
    Answer,
    StageResult,
    differences,
    first_failure,
    nan_last,
    relative_to_all,
    summarise,
)
from tl_export.proof.trained import Trained
from tl_export.run_pictures import evenly
from tl_infer.classifier import Classifier
from tl_infer.errors import ImageError
from tl_infer.images import load_image
from tl_infer.model.contract import EMBEDDING, FAMILIARITY, PROBABILITIES, ModelSpec, Task
from tl_infer.model.records import brief
from tl_infer.system.parallel import ordered_map
from tl_train.evaluation.metrics import wilson_interval
from tl_train.models.math_threads import single_threaded_math
from tl_train.progress import Progress

# Enough images to see a fault of a whole route, which shows on all of them.
_RUNTIME_PICTURES = 8
_INDEPENDENT_PICTURES = 32

# int8 is calibrated anew.
_OWN_OF_INT8 = ("temperature", "abstain_below", "temperatures", "thresholds")

Measured = Sequence[tuple[Path, Mapping[str, float]]]


def verify(trained: Trained, file: bytes, progress: Progress, rule: Rule = RULES[Precision.FP32]) -> Proof:
    """Hold the file's bytes against the model they came from.

    Both sides start from the image file. The PyTorch side runs the preprocessing graph by itself and the network in
    PyTorch; the other side is the Classifier that users run.

    Args:
        trained: the run that the file was made from, and the images to compare on, one or more.
        file: the bytes that would be written.
        progress: shows the images done.
        rule: what is allowed; it is for files of one precision.

    Raises:
        VerificationError: a stage differs, the labels or other metadata differ, its results are inconsistent between
            ways to run it, or there is nothing to compare on; names the first stage that differs and the worst image.

    """
    if not trained.pictures:
        raise VerificationError("there are no images to verify on; give some with --images")
    route, labels = FileRoute(file, trained.route.limits), trained.spec.labels
    if route.classifier.has_familiarity and trained.route.familiarity is None:
        raise VerificationError(
            f"the file differs from the trained model, first at stage '{FAMILIARITY}': the file has that output, "
            "the run has nothing that it could be compared with; export the run again"
        )
    coherence = Coherence(route.classifier.spec, rule)
    measured, independent, given = _measure(trained, route, progress, coherence)
    stages = summarise(measured, _tolerances(trained, rule), rule.on_half)
    agreeing = sum(gaps[LABEL] == 0 for _, gaps in measured)
    _check_answers(stages, agreeing, len(measured), trained.spec.task)
    _check_agreement(given, rule)
    _check_on_half(measured, rule)
    _check_metadata(route.classifier, trained, rule)
    if route.classifier.labels != labels:
        raise VerificationError(
            f"the file differs from the trained model, first at stage '{LABEL}': the file's labels are "
            f"{route.classifier.labels}, the run's are {labels}"
        )
    coherence.check()
    return Proof(
        pictures=len(measured),
        top1_agreement=agreeing / len(measured),
        stages=tuple(stages),
        checks=_runtime_checks(route, evenly(trained.pictures, _RUNTIME_PICTURES), rule.self_difference),
        independent=independent,
        precision=rule.precision,
        task=trained.spec.task,
    )


@dataclasses.dataclass(slots=True)
class _Given:
    """Labels that images are given: by the model, by the file, and by both; of one label per image one each."""

    expected: int = 0
    found: int = 0
    both: int = 0

    def add(self, expected: Answer, found: Answer) -> None:
        self.expected += len(expected.labels)
        self.found += len(found.labels)
        self.both += len(set(expected.labels) & set(found.labels))

    @property
    def total(self) -> int:
        """How many one of them gives, on the mean of the two: `both` of them are the same."""
        return (self.expected + self.found + 1) // 2


def _tolerances(trained: Trained, rule: Rule) -> Mapping[str, float]:
    """A label of several may come and go where its probability is as near its threshold as that may be off."""
    if trained.spec.task == "single" or LABEL not in rule.tolerances:
        return rule.tolerances
    return {**rule.tolerances, LABEL: max(rule.tolerances[LABEL], rule.tolerances[PROBABILITIES])}


def _measure(
    trained: Trained, route: FileRoute, progress: Progress, coherence: Coherence
) -> tuple[Measured, Independent, _Given]:
    """Each image's differences at every stage, what the independent route says of some, and the labels given."""
    measured: list[tuple[Path, dict[str, float]]] = []
    given = _Given()
    largest = 0.0  # of all embeddings
    independent = IndependentRoute(trained.route)
    compared_independently = set(evenly(trained.pictures, _INDEPENDENT_PICTURES))
    with single_threaded_math() as threads:
        answers = ordered_map(lambda path: _answers(path, trained.route, route), trained.pictures, threads)
        pairs = zip(trained.pictures, answers, strict=True)
        for path, (expected, found) in progress.steps(pairs, "Verifying", len(trained.pictures)):
            measured.append((path, differences(expected, found, trained.route.decision)))
            given.add(expected, found)
            coherence.add(str(path), found)
            if EMBEDDING in expected.values:
                largest = max(largest, float(np.abs(expected.values[EMBEDDING]).max()))
            if path in compared_independently:
                independent.compare(path, expected)
    relative_to_all(measured, largest)
    return measured, independent.result(), given


def _check_on_half(measured: Measured, rule: Rule) -> None:
    """Whether half of the images can have differences as small as the rule says; fewer than four cannot deny it."""
    for stage, allowed in rule.on_half.items():
        gaps = [gaps[stage] for _, gaps in measured if stage in gaps]
        over = sum(not gap <= allowed for gap in gaps)
        if gaps and wilson_interval(over, len(gaps)).low > 0.5:
            raise VerificationError(
                f"the file differs from the trained model, first at stage '{stage}': by more than {allowed:g} "
                f"{UNITS[stage]} on {over} of {len(gaps)} images, expected on no more than half"
            )


def _check_metadata(found: Classifier, trained: Trained, rule: Rule) -> None:
    """What the metadata say must be what the run found, also where no image shows it; of labels see `verify`."""
    expected = {**_said(trained.spec), "bit_depth": trained.route.limits.bit_depth}
    theirs = {**_said(found.spec), "bit_depth": found.limits.bit_depth}
    own_of_file = {"labels", "parity"}
    if rule.precision is Precision.INT8:
        own_of_file.update(_OWN_OF_INT8)
        metrics = found.spec.metrics.items()
        theirs["metrics"] = {name: value for name, value in metrics if not name.startswith(OF_INT8)}
    if found.spec.familiarity is None:  # left out of the file
        own_of_file.add("familiarity")
    for name, ours in expected.items():
        if name not in own_of_file and ours != theirs[name]:
            raise VerificationError(
                f"the file's metadata are not the run's: {name}: found {brief(theirs[name])}, expected {brief(ours)}; "
                "export the run again"
            )


def _said(spec: ModelSpec) -> dict[str, object]:
    """What a spec says, by name; the preprocessing by its parts."""
    said: dict[str, object] = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    del said["preprocess"]
    said.update((f"preprocess.{name}", value) for name, value in dataclasses.asdict(spec.preprocess).items())
    said["metrics"] = dict(spec.metrics)
    return said


def _answers(path: Path, torch_route: TorchRoute, file_route: FileRoute) -> tuple[Answer, Answer]:
    try:
        return torch_route(path), file_route(path)
    except ImageError as error:
        raise VerificationError(f"{error}; cannot verify on this file; give other images with --images") from error


def _check_answers(results: Sequence[StageResult], agreeing: int, pictures: int, task: Task) -> None:
    if failure := first_failure(results):
        raise VerificationError(
            f"the file differs from the trained model, first at stage '{failure.stage}': "
            f"{failure.worst}: {failure.largest:.3g} {failure.unit}, allowed {failure.allowed} "
            f"({agreeing} of {pictures} images with the same {compared_by(task)})"
        )


def _check_agreement(given: _Given, rule: Rule) -> None:
    if not given.total:  # several labels, and neither gives any
        return
    interval = wilson_interval(given.both, given.total)
    if interval.high < rule.min_agreement:
        raise VerificationError(
            f"the file differs from the trained model, first at stage '{LABEL}': {given.both} of {given.total} labels "
            f"given to the images are the same (95% interval {interval.low:.0%} to {interval.high:.0%}), "
            f"expected {rule.min_agreement:.0%}"
        )


def _runtime_checks(route: FileRoute, pictures: Sequence[Path], tolerance: float) -> tuple[RuntimeCheck, ...]:
    """The file against itself: many images in a call or one, with the runtime's graph optimisations or without."""
    images = [load_image(path, route.classifier.limits) for path in pictures]
    single = [route.probabilities(image[np.newaxis]) for image in images]
    unoptimized = [route.probabilities(image[np.newaxis], optimized=False) for image in images]
    # One call takes images of one size; real pixels cut to a common size are that.
    # One image alone is no batch: its negative joins it.
    joined = images if len(images) > 1 else [*images, 255 - images[0]]
    height, width = (min(image.shape[axis] for image in joined) for axis in (0, 1))
    batch = np.stack([image[:height, :width] for image in joined])
    cut = [route.probabilities(image[np.newaxis]) for image in batch]
    checks = (
        RuntimeCheck("batch", len(batch), _largest(zip(cut, route.probabilities(batch), strict=True)), tolerance),
        RuntimeCheck("unoptimized", len(images), _largest(zip(single, unoptimized, strict=True)), tolerance),
    )
    for check in checks:
        if not check.passed:
            raise VerificationError(
                f"inconsistent results: check '{check.name}' differs by {check.largest:.3g} of probability on "
                f"{check.pictures} images, allowed {check.tolerance:g}"
            )
    return checks


def _largest(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    return max(nan_last(float(np.abs(first - second).max())) for first, second in pairs)
