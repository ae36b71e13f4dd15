"""The service as an ASGI application: its routes, its errors, and a log line and counters for each request."""

import time
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tl_infer.results import Result
from tl_infer.serve.answering import Answering
from tl_infer.serve.bodies import Bodies
from tl_infer.serve.classify import Classify
from tl_infer.serve.inference import Inference
from tl_infer.serve.logs import log
from tl_infer.serve.metrics import CONTENT_TYPE, Metrics
from tl_infer.serve.models import Models
from tl_infer.serve.openapi import openapi_document
from tl_infer.serve.refusals import CLIENT_LEFT, RefusedError
from tl_infer.serve.settings import Settings
from tl_infer.serve.work import Work

_Handler = Callable[[Request], Awaitable[Response]]


def make_application(settings: Settings, models: Models, work: Work[Result], metrics: Metrics) -> ASGIApp:
    """The application; it owns none of what it is given."""
    bodies = Bodies(settings.max_request_bytes, settings.max_held_bytes, settings.body_timeout_s)
    answering = Answering(work, metrics, settings.answer_timeout_s)
    metrics.watch("tl_images_in_work", "Images under way or waiting.", lambda: work.taken)
    metrics.watch("tl_images_waiting", "Images waiting for a thread.", lambda: work.waiting)
    metrics.watch("tl_held_bytes", "Bodies of all requests.", lambda: bodies.held_bytes)
    metrics.models(models.all())
    routes = [
        _route("/classify", Classify(models, bodies, answering).__call__, "POST"),
        *_inference(Inference(models, bodies, answering)),
        _route("/metrics", _metrics(metrics)),
        _route("/openapi.json", _document(models)),
    ]
    handlers = {RefusedError: _refused, HTTPException: _not_found, Exception: _failed}
    return _Observed(Starlette(routes=routes, exception_handlers=handlers), metrics)  # type: ignore[arg-type]


def _inference(inference: Inference) -> list[Route]:
    routes = [
        _route("/v2", inference.server),
        _route("/v2/health/live", inference.live),
        _route("/v2/health/ready", inference.ready),
    ]
    for place in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        routes += [
            _route(place, inference.model),
            _route(f"{place}/ready", inference.model_ready),
            _route(f"{place}/infer", inference.infer, "POST"),
        ]
    return routes


def _route(path: str, handler: _Handler, method: str = "GET") -> Route:
    async def named(request: Request) -> Response:
        request.state.route = path
        return await handler(request)

    return Route(path, named, methods=[method])


def _metrics(metrics: Metrics) -> _Handler:
    async def answer(_request: Request) -> Response:
        return Response(metrics.text(), 200, {"Content-Type": CONTENT_TYPE})

    return answer


def _document(models: Models) -> _Handler:
    async def answer(_request: Request) -> Response:
        return JSONResponse(openapi_document(models.names))

    return answer


async def _refused(request: Request, error: RefusedError) -> Response:
    request.state.error = error.reason
    return error.response()


async def _not_found(request: Request, error: HTTPException) -> Response:
    """No such path, or not with this method."""
    allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))  # Starlette has a set of them
    reason = f"this path expects {allowed}" if allowed else "no such path; /openapi.json has those that there are"
    request.state.error = reason
    return JSONResponse({"error": reason}, error.status_code, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    """A fault of ours; uvicorn logs its traceback."""
    request.state.error = type(error).__name__
    return JSONResponse({"error": "the service failed on this request"}, 500)


class _Observed:
    """Counts and logs each request, whatever becomes of it."""

    def __init__(self, application: ASGIApp, metrics: Metrics) -> None:
        self._application, self._metrics = application, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        state = scope.setdefault("state", {})
        status = CLIENT_LEFT

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._application(scope, receive, sending)
        finally:
            seconds = time.perf_counter() - started
            route = state.get("route", "other")
            self._metrics.request(route, status, seconds)
            client = scope.get("client")
            log(
                "request", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 2),
                client=client[0] if client else None, model=state.get("model"), images=state.get("images"),
                error=state.get("error"),
            )  # fmt: skip
