"""From the bytes of images to their answers: through the queue, within the time, unless the client leaves."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from starlette.requests import Request

from tl_infer.classifier import Classifier
from tl_infer.errors import ImageError, ImageTooLargeError, ModelFileError, TlError
from tl_infer.results import Result
from tl_infer.serve.logs import log_error
from tl_infer.serve.metrics import Metrics
from tl_infer.serve.models import Model
from tl_infer.serve.refusals import CLIENT_LEFT, RefusedError, bad_request
from tl_infer.serve.work import Work


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for besides the image; each as for `Classifier.classify`."""

    top_k: int | None = 1
    threshold: float | None = None
    min_familiarity: float | None = None
    embedding: bool = False

    def check(self, model: Model) -> None:
        """Refuse what this model cannot give.

        Raises:
            RefusedError: with 400.

        """
        classes = len(model.classifier.labels)
        if self.top_k is not None and not 1 <= self.top_k <= classes:
            raise bad_request("top_k", self.top_k, f"1 to {classes}, the model's classes, or all")
        for name in ("threshold", "min_familiarity"):
            least = getattr(self, name)
            if least is not None and not 0 <= least <= 1:
                raise bad_request(name, least, "0 to 1")
        if self.min_familiarity and not model.classifier.has_familiarity:
            raise RefusedError(400, f"min_familiarity: model '{model.name}' does not tell how familiar images are")


class Answering:
    """Answers requests with the models' results."""

    def __init__(self, work: Work[Result], metrics: Metrics, timeout_s: float) -> None:
        self._work, self._metrics, self._timeout_s = work, metrics, timeout_s

    @property
    def max_images(self) -> int:
        """How many images one request may have."""
        return self._work.queue

    async def answers(self, request: Request, model: Model, images: Sequence[bytes], wanted: Wanted) -> list[Result]:
        """The result of each image, in order; one that cannot be read is an error and leaves the others alone.

        Raises:
            RefusedError: what is wanted makes no sense, there is no room or no time, or the client has left.

        """
        wanted.check(model)
        request.state.images, request.state.model = len(images), model.name
        tasks: list[Callable[[], Result]] = [partial(_answer, model.classifier, image, wanted) for image in images]
        results = await self._in_time(request, self._work.start(tasks))
        for result in results:
            self._metrics.image(model.name, None if isinstance(result, ImageError) else result)
        return results

    async def _in_time(self, request: Request, results: "asyncio.Future[list[Result]]") -> list[Result]:
        # The body has been read, so what comes next is that the client has left.
        leaving = asyncio.ensure_future(request.receive())
        try:
            either: set[asyncio.Future[Any]] = {results, leaving}
            await asyncio.wait(either, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if results.done():
                return results.result()
            if leaving.done():
                raise RefusedError(CLIENT_LEFT, "the client has left")
            reason = f"no answer after {self._timeout_s:g} s, the limit; try again later"
            raise RefusedError(503, reason, self._work.retry_after_s())
        finally:
            results.cancel()
            leaving.cancel()


def status_of(error: ImageError) -> int:
    """The status for an image that cannot be classified."""
    return 413 if isinstance(error, ImageTooLargeError) else 422


def _answer(classifier: Classifier, image: bytes, wanted: Wanted) -> Result:
    try:
        return classifier.classify(
            image, wanted.top_k, threshold=wanted.threshold, min_familiarity=wanted.min_familiarity,
            embedding=wanted.embedding,
        )  # fmt: skip
    except ImageError as error:
        return error
    except ModelFileError as error:  # its message begins with the path of the model, which is not for strangers
        log_error("model failed", error=str(error))
        return ImageError("image", "the model failed on it")
    except TlError as error:
        log_error("decoding failed", error=str(error))
        return ImageError("image", "it cannot be decoded now: no process for decoding can be started")
