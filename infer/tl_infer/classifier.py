"""`Classifier`: load a model file, classify one picture, classify many."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from tl_infer.errors import ImageError, ModelFileError
from tl_infer.heatmaps import draw_overlay
from tl_infer.images import DEFAULT_LIMITS, ImageSource, Limits, Pixels, load_image
from tl_infer.model.contract import EMBEDDING, HEATMAP, PROBABILITIES, ModelSpec
from tl_infer.model.engine import Engine
from tl_infer.model.modelfile import ModelSource, read_model
from tl_infer.model.selftest import run_self_test, sample_picture
from tl_infer.model.session import CPU, Session, check_providers
from tl_infer.request import Request
from tl_infer.results import Classification, SelfTest, Vector
from tl_infer.system.parallel import available_threads, ordered_map

MAX_THREADS = 1024
_BATCH = 16  # pictures in one run of `classify_batch`: memory stays bounded, and larger ones are no faster on a CPU


class Classifier:
    """A model file made by tl-export, ready to classify.

    Thread-safe, can be pickled, and closes itself at the end of a `with` block. Works in forked processes, as
    `multiprocessing` makes them; a child of a bare `os.fork` must end with `os._exit`, because onnxruntime's own
    handler waits for ever at the exit of a process forked after a model was opened (seen with 1.32).

    Attributes:
        spec: what the file says of itself.

    """

    def __init__(
        self,
        model: ModelSource,
        *,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        sha256: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
        fast_decode: bool = False,
        for_many: bool = False,
    ) -> None:
        """Open a model and try it on one picture; with any provider but the CPU also run its self-test.

        Args:
            model: path, bytes, or file opened for reading bytes, of a model made by tl-export.
            threads: processors to use; None for all that the process may use.
            providers: names in order of preference, of cpu, cuda, coreml, openvino, directml; None for the CPU.
            sha256: what the SHA-256 of the file must be, 64 hexadecimal digits; None to take any.
            limits: what is refused before a picture is decoded.
            fast_decode: decode large JPEGs at a reduced scale, at least twice the network's input; the answers change
                a little.
            for_many: make ready for `classify_many` first; saves memory and time where nothing else is used.

        Raises:
            ModelFileError: no such file, damaged, not made by tl-export, not the one of `sha256`, with external data,
                or contradicting itself.
            ProviderError: a provider is not in the installed onnxruntime, or does not start.
            SelfTestError: another provider than the CPU gives other answers than the file says.
            TypeError: `model` is of none of the types above.
            ValueError: `threads` or `sha256` is out of range.

        """
        if threads is not None and not 1 <= threads <= MAX_THREADS:
            raise ValueError(f"threads: found {threads}, expected 1 to {MAX_THREADS}")
        names = check_providers(providers)
        self._options = {
            "threads": threads, "providers": names, "limits": limits, "fast_decode": fast_decode, "for_many": for_many
        }  # fmt: skip
        self._limits = limits
        self._engine = Engine(read_model(model, sha256), threads or available_threads(), names, for_many=for_many)
        first = self._engine.first
        self.spec: ModelSpec = first.spec
        self._outputs = first.outputs
        size = (*self.spec.preprocess.size, self.spec.preprocess.resize_px or 0)
        self._fast_for_px = 2 * max(size) if fast_decode else None
        first.check_answers(sample_picture(first.golden))
        if names != (CPU,):
            self.self_test()

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        return self.spec.labels

    @property
    def sha256(self) -> str:
        """SHA-256 of the model file, 64 hexadecimal digits: what to pin it with."""
        return self._engine.model.sha256

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the contract's outputs that the file has."""
        return self._outputs

    @property
    def has_embedding(self) -> bool:
        """Whether the model gives embeddings."""
        return EMBEDDING in self._outputs

    @property
    def has_heatmap(self) -> bool:
        """Whether the model gives heatmaps."""
        return HEATMAP in self._outputs

    def classify(
        self,
        image: ImageSource,
        top_k: int | None = 1,
        *,
        threshold: float | None = None,
        embedding: bool = False,
        heatmap: bool = False,
    ) -> Classification:
        """Classify one picture.

        Args:
            image: path, file bytes, PIL image, or uint8 array (H, W), (H, W, 3) RGB or (H, W, 4) RGBA.
            top_k: how many classes to name, 1 to all; None for all.
            threshold: abstain below this probability, 0..1; 0 never abstains, None takes the model's own.
            embedding: also give the embedding, at no further decoding.
            heatmap: also give the heatmap of the most probable class.

        Raises:
            ImageError: the picture cannot be read.
            ModelFileError: the graph failed, its answers are no finite numbers, or it lacks the output asked for.
            ClosedError: after `close`.
            ValueError: `top_k` or `threshold` is out of range.

        """
        return self._classify(self._engine.for_one(), self._request(top_k, threshold, embedding, heatmap), image)

    def classify_many(
        self,
        images: Iterable[ImageSource],
        top_k: int | None = 1,
        *,
        threshold: float | None = None,
        embedding: bool = False,
        heatmap: bool = False,
    ) -> Iterator[Classification | ImageError]:
        """Classify many pictures on all cores; one result per picture, in order, with bounded memory.

        A picture that cannot be read, or that the model fails on, gives its `ImageError` as the result, and the others
        go on.

        Args:
            images: as for `classify`; a generator is read only as far ahead as the threads need.
            top_k: as for `classify`.
            threshold: as for `classify`.
            embedding: as for `classify`.
            heatmap: as for `classify`.

        Raises:
            ModelFileError: the model lacks the output asked for (at once, before the first result).
            ClosedError: after `close`.
            ValueError: `top_k` or `threshold` is out of range (at once).
            RuntimeError: the iterator was taken into a forked process.

        """
        request = self._request(top_k, threshold, embedding, heatmap)
        session = self._engine.for_many()

        def result(image: ImageSource) -> Classification | ImageError:
            started = time.perf_counter()
            try:
                return self._classify(session, request, image)
            except ImageError as error:
                error.ms = _ms_since(started)
                return error
            except ModelFileError as error:
                # Who shows the reason to strangers need not show them where the model lies.
                reason = str(error).removeprefix(f"{self._engine.model.where}: ")
                return ImageError(_name(image), f"the model failed on it: {reason}", _ms_since(started))

        return ordered_map(result, images, self._engine.threads)

    def classify_batch(
        self, array: npt.NDArray[np.uint8], top_k: int | None = 1, *, threshold: float | None = None
    ) -> list[Classification]:
        """Classify pictures of one size that are in memory.

        Args:
            array: uint8 (N, H, W, 3), RGB, upright; N may be 0.
            top_k: as for `classify`.
            threshold: as for `classify`.

        Raises:
            ImageError: another type or shape, or over a limit.
            ModelFileError, ClosedError, ValueError: as for `classify`.

        """
        request = self._request(top_k, threshold)
        where = f"array {array.dtype} {array.shape}"
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3:
            raise ImageError(where, "expected uint8 (N, H, W, 3)")
        self._limits.check_pixels(array.shape[2], array.shape[1], where)
        session = self._engine.for_one()
        results: list[Classification] = []
        for start in range(0, len(array), _BATCH):
            began = time.perf_counter()
            part = np.ascontiguousarray(array[start : start + _BATCH])
            (probabilities,) = session.run(part, [PROBABILITIES])
            ms = _ms_since(began) / len(part)
            results += [request.rank(row, ms) for row in probabilities]
        return results

    def embed(self, image: ImageSource) -> Vector:
        """The picture's pooled features, float32 (D,): close to each other for pictures that look alike.

        Raises:
            ImageError, ClosedError: as for `classify`.
            ModelFileError: as for `classify`; the model gives no embeddings.

        """
        return self._output(EMBEDDING, load_image(image, self._limits, fast_for_px=self._fast_for_px))

    def heatmap(self, image: ImageSource, label: str | None = None) -> Vector:
        """Where a class was seen, float32 (h, w): how much each place of the network's input speaks for it.

        Args:
            image: as for `classify`.
            label: one of `labels`; None for the most probable class.

        Raises:
            ImageError, ClosedError: as for `classify`.
            ModelFileError: as for `classify`; the model gives no heatmaps.
            ValueError: `label` is none of the model's.

        """
        return self._heatmap(load_image(image, self._limits, fast_for_px=self._fast_for_px), label)

    def overlay(self, image: ImageSource, label: str | None = None) -> Image.Image:
        """The picture, upright and RGB, with the heatmap laid over it, strongest where it is yellow.

        Args:
            image: as for `classify`.
            label: as for `heatmap`.

        Raises:
            ImageError, ModelFileError, ClosedError, ValueError: as for `heatmap`.

        """
        pixels = load_image(image, self._limits, fast_for_px=self._fast_for_px)
        return draw_overlay(pixels, self._heatmap(pixels, label), self.spec.preprocess)

    def self_test(self) -> SelfTest:
        """Run the golden samples of the model file on this machine.

        Returns:
            What was found, when every probability is within the tolerance.

        Raises:
            SelfTestError: an answer is not within the tolerance.
            ModelFileError: the file has no golden samples, or as for `classify`.

        """
        return run_self_test(self._engine.for_one(), self._engine.model.where)

    def close(self) -> None:
        """Free the memory of the model; further calls raise `ClosedError`."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., "Classifier"], tuple[Any, ...]]:
        """A classifier travels as its path and the file's SHA-256, or as bytes where it came from no path."""
        model = self._engine.model
        return _reopen, (model.path or model.data, self.sha256, self._options)

    def __repr__(self) -> str:
        return f"<Classifier {self._engine.model.where}: {len(self.labels)} classes>"

    def _request(
        self, top_k: int | None, threshold: float | None, embedding: bool = False, heatmap: bool = False
    ) -> Request:
        wanted = ((EMBEDDING, embedding), (HEATMAP, heatmap))
        outputs = tuple(self._need(name) for name, is_wanted in wanted if is_wanted)
        return Request(self.labels, top_k, self.spec.abstain_below if threshold is None else threshold, outputs)

    def _need(self, output: str) -> str:
        if output not in self._outputs:
            raise ModelFileError(
                f"{self._engine.model.where}: has no output '{output}', only {', '.join(self._outputs)}; "
                f"a newer tl-export may add it, where the architecture has one"
            )
        return output

    def _classify(self, session: Session, request: Request, image: ImageSource) -> Classification:
        started = time.perf_counter()
        pixels = load_image(image, self._limits, fast_for_px=self._fast_for_px)
        names = request.all_outputs
        found = dict(zip(names, session.run(pixels[np.newaxis], names), strict=True))
        answer = request.rank(found[PROBABILITIES][0], _ms_since(started))
        if not request.outputs:
            return answer
        heatmap = None
        if HEATMAP in found:
            heatmap = found[HEATMAP][0, self.labels.index(answer.top[0].label)].copy()  # not the maps of all classes
        embedding = found[EMBEDDING][0] if EMBEDDING in found else None
        return dataclasses.replace(answer, embedding=embedding, heatmap=heatmap)

    def _output(self, name: str, pixels: Pixels) -> Vector:
        (values,) = self._engine.for_one().run(pixels[np.newaxis], [self._need(name)])
        found: Vector = values[0]
        return found

    def _heatmap(self, pixels: Pixels, label: str | None) -> Vector:
        if label is not None and label not in self.labels:
            raise ValueError(f"label: found {label!r}, expected one of the model's {len(self.labels)} labels")
        outputs = [self._need(HEATMAP), PROBABILITIES]
        maps, probabilities = self._engine.for_one().run(pixels[np.newaxis], outputs)
        index = int(probabilities[0].argmax()) if label is None else self.labels.index(label)
        found: Vector = maps[0, index]
        return found


def _reopen(source: Path | bytes, sha256: str, options: dict[str, Any]) -> Classifier:
    return Classifier(source, sha256=sha256, **options)


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def _name(image: ImageSource) -> str:
    """What to call a picture that decoded, and yet the model failed on."""
    return str(image) if isinstance(image, str | Path) else type(image).__name__
