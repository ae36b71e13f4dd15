"""The proof: the PyTorch model against the real Classifier, on picture files, stage by stage."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tl_export.errors import VerificationError
from tl_export.proof.independent import gray_levels_apart, independent_tensor
from tl_export.proof.precision import RULES, Precision, Rule
from tl_export.proof.proof import Independent, Proof, RuntimeCheck
from tl_export.proof.routes import FileRoute, TorchRoute
from tl_export.proof.stages import LABEL, TENSOR, Answer, StageResult, differences, first_failure, summarise
from tl_infer.errors import ImageError
from tl_infer.images import load_image
from tl_infer.model.contract import PROBABILITIES, ModelSpec
from tl_train.evaluation.metrics import CONFIDENCE, wilson_interval
from tl_train.models.architectures import find_architecture
from tl_train.progress import Progress

# Enough pictures to see a fault of a whole route, which shows on all of them.
_RUNTIME_PICTURES = 8
_INDEPENDENT_PICTURES = 32


def verify(
    model: nn.Module,
    spec: ModelSpec,
    file: bytes,
    pictures: Sequence[Path],
    progress: Progress,
    *,
    rule: Rule = RULES[Precision.FP32],
    route: TorchRoute | None = None,
) -> Proof:
    """Hold the file's bytes against the model they came from.

    Both sides start from the picture file. The PyTorch side runs the preprocessing graph by itself and the network in
    PyTorch; the other side is the Classifier that users run.

    Args:
        model: the trained network, normalised tensor -> logits.
        spec: what the run says of the model; labels, preprocessing and temperature of the PyTorch side.
        file: the bytes that would be written.
        pictures: picture files, one or more.
        progress: shows the pictures done.
        rule: what is allowed; it is for files of one precision.
        route: of `model` and `spec`, where there is one already.

    Raises:
        VerificationError: a stage differs, the labels differ, the file contradicts itself between ways to run it, or
            there is nothing to compare on; names the first stage that differs and the worst picture.

    """
    if not pictures:
        raise VerificationError("there are no pictures to verify on; give some with --images")
    torch_route = route or TorchRoute(model, spec, find_architecture(spec.architecture))
    file_route = FileRoute(file)
    measured, agreeing, independent = [], 0, _IndependentRoute(torch_route, spec)
    compared_independently = set(evenly(pictures, _INDEPENDENT_PICTURES))
    for path in progress.steps(pictures, "Verifying", len(pictures)):
        expected, found = _both(path, torch_route, file_route)
        measured.append((path, differences(expected, found, spec.labels)))
        agreeing += expected.label == found.label
        if path in compared_independently:
            independent.add(path, expected)
    results = summarise(measured, rule.tolerances)
    _check_answers(results, agreeing, len(pictures), rule)
    if file_route.classifier.labels != spec.labels:
        raise VerificationError(
            f"the file differs from the trained model, first at stage '{LABEL}': the file's labels are "
            f"{file_route.classifier.labels}, the run's are {spec.labels}"
        )
    checks = _runtime_checks(file_route, evenly(pictures, _RUNTIME_PICTURES), rule.self_difference)
    return Proof(
        pictures=len(pictures),
        top1_agreement=agreeing / len(pictures),
        stages=tuple(results),
        checks=checks,
        independent=independent.result(),
        precision=rule.precision,
    )


def _check_answers(results: Sequence[StageResult], agreeing: int, pictures: int, rule: Rule) -> None:
    if failure := first_failure(results):
        raise VerificationError(
            f"the file differs from the trained model, first at stage '{failure.stage}': "
            f"{failure.worst}: {failure.largest:.3g} {failure.unit}, allowed {failure.allowed} "
            f"({agreeing} of {pictures} pictures with the same top-1)"
        )
    interval = wilson_interval(agreeing, pictures, CONFIDENCE)
    if interval.high < rule.min_agreement:
        raise VerificationError(
            f"the file differs from the trained model, first at stage '{LABEL}': {agreeing} of {pictures} pictures "
            f"with the same top-1 (95% interval {interval.low:.0%} to {interval.high:.0%}), "
            f"expected {rule.min_agreement:.0%}"
        )


def evenly(pictures: Sequence[Path], count: int | None) -> list[Path]:
    """`count` of the pictures, spread over all of them; all when there are no more, or for None."""
    if count is None or len(pictures) <= count:
        return list(pictures)
    return [pictures[round(place)] for place in np.linspace(0, len(pictures) - 1, count)]


def _both(path: Path, torch_route: TorchRoute, file_route: FileRoute) -> tuple[Answer, Answer]:
    try:
        return torch_route(path), file_route(path)
    except ImageError as error:
        raise VerificationError(f"{error}; cannot verify on this file; give other pictures with --images") from error


def _runtime_checks(route: FileRoute, pictures: Sequence[Path], tolerance: float) -> tuple[RuntimeCheck, ...]:
    """The file against itself: many pictures in a call or one, with the runtime's graph optimisations or without."""
    images = [load_image(path) for path in pictures]
    single = [route.probabilities(image[np.newaxis]) for image in images]
    unoptimized = [route.probabilities(image[np.newaxis], optimized=False) for image in images]
    # One call takes pictures of one size; real pixels cut to a common size are that.
    height, width = (min(image.shape[axis] for image in images) for axis in (0, 1))
    batch = np.stack([image[:height, :width] for image in images])
    cut = [route.probabilities(image[np.newaxis]) for image in batch]
    checks = (
        RuntimeCheck("batch", len(images), _largest(zip(cut, route.probabilities(batch), strict=True)), tolerance),
        RuntimeCheck("unoptimized", len(images), _largest(zip(single, unoptimized, strict=True)), tolerance),
    )
    for check in checks:
        if not check.passed:
            raise VerificationError(
                f"the file contradicts itself: check '{check.name}' on {check.pictures} "
                f"pictures: {check.largest:.3g} of probability, allowed {check.tolerance:g}"
            )
    return checks


def _largest(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    return max(float(np.abs(first - second).max()) for first, second in pairs)


class _IndependentRoute:
    """Collects what the independent route says of some pictures; one that Pillow alone cannot read is left out."""

    def __init__(self, route: TorchRoute, spec: ModelSpec) -> None:
        self._route, self._spec = route, spec
        self._levels, self._gaps, self._agreeing = [0.0], [0.0], 0

    def add(self, path: Path, ours: Answer) -> None:
        try:
            tensor = independent_tensor(path, self._spec.preprocess)
        except Exception:  # noqa: BLE001 - ours has rules for hard files that Pillow alone has not
            return
        probabilities = self._route.network(tensor)[PROBABILITIES]
        self._levels.append(gray_levels_apart(torch.from_numpy(ours.values[TENSOR]), tensor, self._spec.preprocess))
        self._gaps.append(float(np.abs(probabilities - ours.values[PROBABILITIES]).max()))
        self._agreeing += self._spec.labels[int(np.argmax(probabilities))] == ours.label

    def result(self) -> Independent:
        pictures = len(self._gaps) - 1
        agreement = self._agreeing / pictures if pictures else math.nan
        return Independent(pictures, agreement, max(self._gaps), max(self._levels))
