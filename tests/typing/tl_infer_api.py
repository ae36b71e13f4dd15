"""The types that a program which embeds tl_infer relies on; mypy checks this file, nothing runs it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Literal, assert_type

import numpy as np
import numpy.typing as npt
from PIL import Image

import tl_infer
from tl_infer import (
    Classification,
    Classifier,
    ClosedError,
    FamiliaritySpec,
    ImageError,
    ImageTooLargeError,
    InputPathError,
    Limits,
    ModelFileError,
    ModelSpec,
    OutputPathError,
    ParitySummary,
    PreprocessSpec,
    ProviderError,
    Score,
    SelfTest,
    SelfTestError,
    TlError,
    load_image,
)

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


def opening(path: Path, file: BinaryIO) -> None:
    assert_type(Classifier("photos.onnx"), Classifier)
    Classifier(path, threads=1, providers=["cuda", "cpu"], sha256="0" * 64, for_many=True)
    Classifier(
        b"", limits=Limits(max_file_bytes=1, max_pixels=1, max_side_px=1, max_scans=1, fast_decode=True, bit_depth=12)
    )
    with Classifier(file) as classifier:
        assert_type(classifier, Classifier)
    assert_type(classifier.close(), None)


def one(classifier: Classifier, path: Path, image: Image.Image, pixels: Bytes) -> None:
    for source in ("photo.jpg", path, b"", image, pixels):
        assert_type(classifier.classify(source), Classification)
    assert_type(classifier.classify(path, 3, threshold=0.5, embedding=True, heatmap=True), Classification)
    assert_type(classifier.classify(path, top_k=None), Classification)
    assert_type(classifier.embed(path), Floats)
    assert_type(classifier.heatmap(path, "cat"), Floats)
    assert_type(classifier.overlay(path), Image.Image)
    assert_type(load_image(path, Limits(), fast_for_px=448), Bytes)
    assert_type(load_image(path, Limits(isolate=True, max_seconds=1.5, max_bytes=10**9, formats=("avif",))), Bytes)


def many(classifier: Classifier, paths: Iterator[Path], pixels: Bytes) -> None:
    results = classifier.classify_many(paths, None, threshold=0, embedding=True, heatmap=True)
    assert_type(results, Iterator[Classification | ImageError])
    for result in results:
        if isinstance(result, ImageError):
            assert_type(result.where, str)
            assert_type(result.reason, str)
            assert_type(result.ms, float | None)
        else:
            assert_type(result, Classification)
    assert_type(classifier.classify_batch(pixels, 2, threshold=0.1, min_familiarity=0), list[Classification])


def answers(result: Classification, tested: SelfTest) -> None:
    assert_type(result.label, str | None)
    assert_type(result.probability, float)
    assert_type(result.abstained, bool)
    assert_type(result.reason, Literal["unsure", "unfamiliar"] | None)
    assert_type(result.familiarity, float | None)
    assert_type(result.ms, float)
    assert_type(result.top, tuple[Score, ...])
    assert_type(result.top[0].label, str)
    assert_type(result.top[0].probability, float)
    assert_type(result.embedding, Floats | None)
    assert_type(result.heatmap, Floats | None)
    assert_type((tested.samples, tested.max_difference, tested.tolerance), tuple[int, float, float])


def describing(classifier: Classifier) -> None:
    assert_type(classifier.labels, tuple[str, ...])
    assert_type(classifier.sha256, str)
    assert_type(classifier.outputs, tuple[str, ...])
    assert_type(classifier.has_embedding and classifier.has_heatmap and classifier.has_familiarity, bool)
    assert_type(classifier.self_test(), SelfTest)
    assert_type(classifier.limits, Limits)
    assert_type(classifier.sixteen_bit_images, dict[int, int])
    assert_type(classifier.spec, ModelSpec)
    assert_type(classifier.spec.preprocess, PreprocessSpec)
    assert_type(classifier.spec.preprocess.size, tuple[int, int])
    assert_type(classifier.spec.parity, ParitySummary | None)
    assert_type(classifier.spec.metrics, Mapping[str, float])
    assert_type(classifier.spec.abstain_below, float | None)
    assert_type(classifier.spec.familiarity, FamiliaritySpec | None)


def failing() -> tuple[type[TlError], ...]:
    """One `except TlError` catches them all; the standard types work too."""
    values: tuple[type[ValueError], ...] = (ClosedError, ImageError, ImageTooLargeError, ModelFileError, ProviderError)
    system: tuple[type[OSError], ...] = (InputPathError, OutputPathError)
    assert values
    assert system
    return ClosedError, ImageError, InputPathError, ModelFileError, OutputPathError, ProviderError, SelfTestError


def naming() -> tuple[object, ...]:
    """A name that does not exist is an error of the type checker, too."""
    return tl_infer.ray, tl_infer.Classifer  # type: ignore[attr-defined]
