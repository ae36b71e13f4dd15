"""`Classifier`: load a model file, classify one image, classify many.

What decodes images is imported once the model is open: `tl-infer` imports it while onnxruntime opens the model.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from tl_infer.errors import ImageError, ModelFileError
from tl_infer.limits import DEFAULT_LIMITS, Limits
from tl_infer.model.contract import EMBEDDING, FAMILIARITY, HEATMAP, PROBABILITIES, ModelSpec
from tl_infer.model.engine import Engine
from tl_infer.model.modelfile import ModelSource, read_model
from tl_infer.model.opening import CPU, check_providers
from tl_infer.model.session import Session
from tl_infer.request import Request
from tl_infer.results import Classification, SelfTest, Vector
from tl_infer.system.parallel import available_threads, ordered_map

if TYPE_CHECKING:
    from PIL import Image

    from tl_infer.images import ImageSource, Pixels

MAX_THREADS = 1024
_BATCH = 16  # images in one run of `classify_batch`: memory stays bounded, and larger runs are no faster on a CPU


class Classifier:
    """A model file made by tl-export, ready to classify.

    Thread-safe, can be pickled, and closes itself at the end of a `with` block. Works in forked processes, however
    they end.

    Attributes:
        spec: what the file says about itself.
        limits: what decoding an image may take; its bit depth is the one given, or else the file's.

    """

    def __init__(
        self,
        model: ModelSource,
        *,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        sha256: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
        for_many: bool = False,
    ) -> None:
        """Open a model and try it on one image; on any provider but the CPU, also run its self-test.

        Args:
            model: path, bytes, or binary file open for reading, of a model made by tl-export; or a text
                `hf://ORG/REPO@COMMIT/FILE.onnx#sha256=DIGEST`, a file on the Hugging Face hub (extra `hub`).
            threads: processors to use; None for all that the process may use.
            providers: in order of preference, of cpu, cuda, coreml, openvino, directml; None for the CPU.
            sha256: the SHA-256 that the file must have, 64 hexadecimal digits; None accepts any.
            limits: what decoding an image may take.
            for_many: prepare for `classify_many` first; saves memory and time if nothing else is called.

        Raises:
            ModelFileError: no such file, damaged, not made by tl-export, with external data, not that of `sha256`, or
                not to be had from the hub.
            ProviderError: a provider is not in the installed onnxruntime, does not start, or fails at an image.
            SelfTestError: another provider than the CPU gives other answers than the file says.
            TypeError: `model` is of none of the types above, or `limits` are none.
            ValueError: `threads` or `sha256` is out of range.

        """
        if not isinstance(limits, Limits):
            raise TypeError(f"limits: found {type(limits).__name__}, expected Limits(...)")
        processors = _processors(threads)
        names = check_providers(providers)
        self._reopen = functools.partial(Classifier, threads=threads, providers=names, limits=limits, for_many=for_many)
        self._engine = Engine(read_model(model, sha256), processors, names, for_many=for_many)
        first = self._engine.first
        self.spec: ModelSpec = first.spec
        self.limits = limits if limits.bit_depth else dataclasses.replace(limits, bit_depth=first.bit_depth)
        self._outputs = first.outputs
        from tl_infer.loader import ImageLoader
        from tl_infer.model.selftest import sample_image

        self._load = ImageLoader(self.limits, self.spec.preprocess, max(processors, available_threads()))
        self._engine.check_answers(sample_image(first.golden))
        if names != (CPU,):
            self.self_test()

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        return self.spec.labels

    @property
    def sha256(self) -> str:
        """SHA-256 of the model file, 64 hexadecimal digits; the value to pin it with."""
        return self._engine.model.sha256

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the contract's outputs that the file has."""
        return self._outputs

    @property
    def sixteen_bit_images(self) -> dict[int, int]:
        """The files of 16 bits a channel that were decoded so far, scaled from all 16: bits used -> how many."""
        return self._load.tally.counts()

    @property
    def has_embedding(self) -> bool:
        """Whether the model gives embeddings."""
        return EMBEDDING in self._outputs

    @property
    def has_heatmap(self) -> bool:
        """Whether the model gives heatmaps."""
        return HEATMAP in self._outputs

    @property
    def gives_several(self) -> bool:
        """Whether an image may have any number of labels (task `multi`), or has one."""
        return self.spec.task == "multi"

    @property
    def has_familiarity(self) -> bool:
        """Whether the model tells how familiar images are; each of its answers then says so."""
        return FAMILIARITY in self._outputs

    def classify(
        self,
        image: ImageSource,
        top_k: int | None = 1,
        *,
        threshold: float | None = None,
        min_familiarity: float | None = None,
        embedding: bool = False,
        heatmap: bool = False,
    ) -> Classification:
        """Classify one image.

        Args:
            image: path, file bytes, PIL image, or uint8 array (H, W), (H, W, 3) RGB or (H, W, 4) RGBA.
            top_k: how many classes to name, 1 to all; None for all.
            threshold: abstain as unsure below this probability, 0..1; 0 never does, None takes the model's own. Of a
                model that gives several labels: give those from this probability on, instead of the thresholds of each.
            min_familiarity: abstain as unfamiliar below this familiarity, 0..1; likewise.
            embedding: also give the embedding; the image is decoded once.
            heatmap: also give the heatmap of the most probable class, and of each label that the image has, of a model
                that gives several.

        Raises:
            ImageError: the image cannot be read.
            ModelFileError: the graph failed, its answers are not finite numbers, or it lacks an output asked for.
            ClosedError: after `close`.
            ValueError: `top_k`, `threshold` or `min_familiarity` is out of range.

        """
        request = self._request(top_k, threshold, min_familiarity, self._extras(embedding, heatmap))
        return self._classify(self._engine.for_one(), request, image)

    def classify_many(
        self,
        images: Iterable[ImageSource | ImageError],
        top_k: int | None = 1,
        *,
        threshold: float | None = None,
        min_familiarity: float | None = None,
        embedding: bool = False,
        heatmap: bool = False,
    ) -> Iterator[Classification | ImageError]:
        """Classify many images on all cores: one result per image, in order, with bounded memory.

        An image that cannot be read, or that the model fails on, gives its `ImageError` as the result; the others are
        unaffected.

        Args:
            images: as for `classify`; a generator is read only as far ahead as the threads need. An `ImageError`, of an
                image that could not be fetched, is its own result. An array is copied, so a buffer can be used again; a
                PIL image is not, so yield `frame.copy()` of one that is changed or sought through.
            top_k: as for `classify`.
            threshold: as for `classify`.
            min_familiarity: as for `classify`.
            embedding: as for `classify`.
            heatmap: as for `classify`.

        Raises:
            ModelFileError: the model lacks an output asked for (at once, before the first result).
            ClosedError: after `close`.
            ValueError: `top_k`, `threshold` or `min_familiarity` is out of range (at once).
            TypeError: `images` is a single one (at once), or one of them is of no type that `classify` takes.
            RuntimeError: the iterator was taken into a forked process.

        """
        _check_several(images)
        request = self._request(top_k, threshold, min_familiarity, self._extras(embedding, heatmap))
        answer = functools.partial(self._answer_or_error, self._engine.for_many(), request)
        # While another process decodes, a thread only waits.
        waiting = 2 if self._load.is_isolated else 1
        return ordered_map(answer, images, waiting * self._engine.threads, _kept)

    def classify_batch(
        self,
        array: npt.NDArray[np.uint8],
        top_k: int | None = 1,
        *,
        threshold: float | None = None,
        min_familiarity: float | None = None,
    ) -> list[Classification]:
        """Classify images of one size that are in memory.

        Args:
            array: uint8 (N, H, W, 3), RGB, upright; N may be 0.
            top_k: as for `classify`.
            threshold: as for `classify`.
            min_familiarity: as for `classify`.

        Raises:
            ImageError: another type or shape, or over a limit.
            ModelFileError, ClosedError, ValueError: as for `classify`.
            TypeError: no array.

        """
        request = self._request(top_k, threshold, min_familiarity, ())
        if not isinstance(array, np.ndarray):
            raise TypeError(f"expected an array uint8 (N, H, W, 3), found {type(array).__name__}")
        where = f"array {array.dtype} {array.shape}"
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3:
            raise ImageError(where, "expected uint8 (N, H, W, 3)")
        self.limits.check_pixels(array.shape[2], array.shape[1], where)
        session = self._engine.for_one()
        results: list[Classification] = []
        for start in range(0, len(array), _BATCH):
            started = time.perf_counter()
            results += request.run(session, np.ascontiguousarray(array[start : start + _BATCH]), started)
        return results

    def embed(self, image: ImageSource) -> Vector:
        """The image's pooled features, float32 (D,): close to each other for images that look alike.

        Raises:
            ImageError, ClosedError: as for `classify`.
            ModelFileError: as for `classify`; the model gives no embeddings.

        """
        (values,) = self._engine.for_one().run(self._load(image)[np.newaxis], [self._need(EMBEDDING)])
        embedding: Vector = values[0]
        return embedding

    def heatmap(self, image: ImageSource, label: str | None = None) -> Vector:
        """Where a class was seen, float32 (h, w): how much each part of the network's input speaks for it.

        Args:
            image: as for `classify`.
            label: one of `labels`; None for the most probable class.

        Raises:
            ImageError, ClosedError: as for `classify`.
            ModelFileError: as for `classify`; the model gives no heatmaps.
            ValueError: `label` is not one of the model's.

        """
        return self._heatmap(self._load(image), label)

    def overlay(self, image: ImageSource, label: str | None = None) -> Image.Image:
        """The image, upright and RGB, with the heatmap laid over it, yellow where it is strongest.

        Args:
            image: as for `classify`.
            label: as for `heatmap`.

        Raises:
            ImageError, ModelFileError, ClosedError, ValueError: as for `heatmap`.

        """
        from tl_infer.heatmaps import draw_overlay  # here, because most programs draw nothing

        pixels = self._load(image)
        return draw_overlay(pixels, self._heatmap(pixels, label), self.spec.preprocess)

    def self_test(self) -> SelfTest:
        """Run the golden samples of the model file on this machine.

        Returns:
            How far the answers were off; all were within the tolerance.

        Raises:
            SelfTestError: a probability or a familiarity is outside its tolerance.
            ModelFileError: the file has no golden samples, or as for `classify`.

        """
        from tl_infer.model.selftest import run_self_test

        return run_self_test(self._engine.for_one(), self._engine.model.where)

    def close(self) -> None:
        """Free the memory of the model and end its processes; further calls raise `ClosedError`."""
        self._engine.close()
        self._load.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., Classifier], tuple[Path | bytes]]:
        """A classifier is pickled as its path and the file's SHA-256, or as bytes if it was not opened by a path."""
        model = self._engine.model
        return functools.partial(self._reopen, sha256=self.sha256), (model.path or model.data,)

    def __repr__(self) -> str:
        return f"<Classifier {self._engine.model.where}: {len(self.labels)} classes>"

    def _request(
        self, top_k: int | None, threshold: float | None, min_familiarity: float | None, extras: tuple[str, ...]
    ) -> Request:
        below = self.spec.abstain_below if threshold is None else threshold
        if self.spec.familiarity is None:
            if min_familiarity:
                raise ModelFileError(
                    f"{self._engine.model.where}: does not tell how familiar an image is, so min_familiarity cannot "
                    "be applied: leave it out, or export a run with 100 or more held-back images with that output"
                )
            return Request(self.labels, top_k, below, extras=extras, thresholds=self.spec.thresholds)
        unfamiliar_below = self.spec.familiarity.unfamiliar_below if min_familiarity is None else min_familiarity
        extras = (FAMILIARITY, *extras)
        return Request(self.labels, top_k, below, unfamiliar_below, extras, self.spec.thresholds)

    def _extras(self, embedding: bool, heatmap: bool) -> tuple[str, ...]:
        wanted = ((EMBEDDING, embedding), (HEATMAP, heatmap))
        return tuple(self._need(name) for name, is_wanted in wanted if is_wanted)

    def _need(self, output: str) -> str:
        if output not in self._outputs:
            raise ModelFileError(
                f"{self._engine.model.where}: has no output '{output}', only {', '.join(self._outputs)}; "
                f"export the model again with a newer tl-export, which adds it if the architecture allows it"
            )
        return output

    def _classify(self, session: Session, request: Request, image: ImageSource) -> Classification:
        started = time.perf_counter()
        (answer,) = request.run(session, self._load(image)[np.newaxis], started)
        return answer

    def _answer_or_error(
        self, session: Session, request: Request, image: ImageSource | ImageError
    ) -> Classification | ImageError:
        if isinstance(image, ImageError):
            return image
        started = time.perf_counter()
        try:
            return self._classify(session, request, image)
        except ImageError as error:
            error.ms = (time.perf_counter() - started) * 1000
            _let_go(error)
            return error
        except ModelFileError as error:
            # Whoever shows the reason to strangers need not show them where the model is.
            reason = str(error).removeprefix(f"{self._engine.model.where}: ")
            name = str(image) if isinstance(image, str | Path) else type(image).__name__
            return ImageError(name, f"the model failed on it: {reason}", (time.perf_counter() - started) * 1000)

    def _heatmap(self, pixels: Pixels, label: str | None) -> Vector:
        if label is not None and label not in self.labels:
            raise ValueError(f"label: found {label!r}, expected one of the model's {len(self.labels)} labels")
        outputs = [self._need(HEATMAP), PROBABILITIES]
        maps, probabilities = self._engine.for_one().run(pixels[np.newaxis], outputs)
        index = int(probabilities[0].argmax()) if label is None else self.labels.index(label)
        heatmap: Vector = maps[0, index].copy()  # the maps of the other classes need not be kept
        return heatmap


def _let_go(error: ImageError) -> None:
    """Drop the frames of a failure, which hold the file: whoever keeps a folder's errors would keep its files."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__


def _check_several(images: object) -> None:
    """Refuse one image, of which the letters of a path or the rows of an array would be classified."""
    is_one = isinstance(images, str | bytes | bytearray | memoryview)
    if isinstance(images, np.ndarray):
        is_grey = images.ndim == 2 and images.dtype.kind in "biuf"  # else of paths
        is_one = is_grey or (images.ndim == 3 and images.shape[2] in (3, 4))
    if is_one:
        raise TypeError(f"expected several images, found one, of type {type(images).__name__}: give it in a list")


def _kept(image: ImageSource | ImageError) -> ImageSource | ImageError:
    """The image as it is now: a program may put its next one into the same array, long before this one's turn."""
    return image.copy() if isinstance(image, np.ndarray) else image


def _processors(threads: int | None) -> int:
    if threads is None:
        return available_threads()
    if not 1 <= threads <= MAX_THREADS:
        raise ValueError(f"threads: found {threads}, expected 1 to {MAX_THREADS}")
    return threads
