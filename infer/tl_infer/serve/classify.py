"""`POST /classify`: an image as the body, or several as multipart/form-data."""

import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tl_infer.errors import ImageError
from tl_infer.results import row_of
from tl_infer.serve.answering import Answering, Wanted, status_of
from tl_infer.serve.bodies import Bodies, uploads_of
from tl_infer.serve.models import Model, Models
from tl_infer.serve.refusals import RefusedError, bad_request, check_names

OPTIONS = ("model", "top_k", "threshold", "min_familiarity")


class Classify:
    """The handler."""

    def __init__(self, models: Models, bodies: Bodies, answering: Answering) -> None:
        self._models, self._bodies, self._answering = models, bodies, answering

    async def __call__(self, request: Request) -> Response:
        """Answer one image with its result, or with an error; several with a list of results and errors."""
        _check_query(request)
        model, wanted = self._model(request), _wanted(request)
        wanted.check(model)
        about = {"model": model.name, "version": model.version}
        async with self._bodies.read(request) as body:
            uploads = await uploads_of(request.headers.get("content-type", ""), body)
            images = [body] if uploads is None else [upload.data for upload in uploads]
            results = await self._answering.answers(request, model, images, wanted)
        if uploads is not None:
            named = zip(uploads, results, strict=True)
            return JSONResponse(about | {"results": [{"name": upload.name} | row_of(each) for upload, each in named]})
        (result,) = results
        if isinstance(result, ImageError):
            raise RefusedError(status_of(result), result.reason)
        return JSONResponse(about | row_of(result))

    def _model(self, request: Request) -> Model:
        names = self._models.names
        name = request.query_params.get("model", names[0] if len(names) == 1 else None)
        if name is None:
            raise RefusedError(400, f"model: missing, expected one of {', '.join(names)}")
        model = self._models.get(name)
        if model is None:
            raise bad_request("model", name, f"one of {', '.join(names)}")
        return model


def _check_query(request: Request) -> None:
    """Refuse options that mean nothing, or are there twice: which of the two is meant is not for a service to guess."""
    check_names("query", request.query_params, OPTIONS)
    for name in OPTIONS:
        if len(values := request.query_params.getlist(name)) > 1:
            raise bad_request(name, values, "it once")


def _wanted(request: Request) -> Wanted:
    return Wanted(_top_k(request), _number(request, "threshold"), _number(request, "min_familiarity"))


def _top_k(request: Request) -> int | None:
    text = request.query_params.get("top_k", "1")
    if text == "all":
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise bad_request("top_k", text, "a whole number from 1, or all")
    return int(text)


def _number(request: Request, name: str) -> float | None:
    text = request.query_params.get(name)
    try:
        return None if text is None else float(text)
    except ValueError as error:
        raise bad_request(name, text, "0 to 1") from error
