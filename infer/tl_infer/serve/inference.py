"""The Open Inference Protocol, version 2, over REST: health, metadata, inference."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import tl_infer
from tl_infer.errors import ImageError
from tl_infer.results import Classification, Result
from tl_infer.serve.answering import Answering, Wanted, status_of
from tl_infer.serve.bodies import Bodies
from tl_infer.serve.models import Model, Models
from tl_infer.serve.refusals import RefusedError, bad_request, check_names
from tl_infer.serve.tensors import HEADER_LENGTH, IMAGE, Tensor, input_images, split
from tl_infer.text.label_sets import joined
from tl_infer.text.safetext import is_unicode

_PARAMETERS = ("threshold", "min_familiarity", "binary_data_output")
_ON_REQUEST = ("embedding", "error")  # outputs that are not given unless they are asked for


class Inference:
    """The handlers."""

    def __init__(self, models: Models, bodies: Bodies, answering: Answering) -> None:
        self._models, self._bodies, self._answering = models, bodies, answering

    async def live(self, _request: Request) -> Response:
        """The process answers."""
        return JSONResponse({"live": True})

    async def ready(self, _request: Request) -> Response:
        """Models are opened before the service listens, and it no longer listens when it is stopping."""
        return JSONResponse({"ready": True})

    async def server(self, _request: Request) -> Response:
        """What answers."""
        return JSONResponse({"name": "tl-infer", "version": tl_infer.__version__, "extensions": ["binary_tensor_data"]})

    async def model_ready(self, request: Request) -> Response:
        """Whether a model answers."""
        return JSONResponse({"name": self._model(request).name, "ready": True})

    async def model(self, request: Request) -> Response:
        """Inputs, outputs and labels of a model."""
        model = self._model(request)
        return JSONResponse(
            {
                "name": model.name,
                "versions": [model.version],
                "platform": "tl-toolkit",
                "inputs": [{"name": IMAGE, "datatype": "BYTES", "shape": [-1]}],
                "outputs": [
                    {"name": tensor.name, "datatype": tensor.datatype, "shape": [-1, *tensor.shape[1:]]}
                    for tensor in _tensors(model, [])
                ],
                "parameters": {"labels": list(model.classifier.labels), "sha256": model.classifier.sha256},
            }
        )

    async def infer(self, request: Request) -> Response:
        """Classify the images of a request; unless the output `error` is asked for, one bad image is its error."""
        model = self._model(request)
        async with self._bodies.read(request) as body:
            length, max_images = request.headers.get(HEADER_LENGTH), self._answering.max_images
            given, images = await asyncio.to_thread(_read, body, length, max_images)
            names, binary = _outputs(given, model)
            wanted = _wanted(given, embedding="embedding" in names)
            results = await self._answering.answers(request, model, images, wanted)
        if "error" not in names:
            _refuse_errors(results)
        tensors = {tensor.name: tensor for tensor in _tensors(model, results)}
        about = {"model_name": model.name, "model_version": model.version}
        if "id" in given:
            about["id"] = given["id"]
        return _response(about, [tensors[name] for name in names], binary)

    def _model(self, request: Request) -> Model:
        name, version = request.path_params["name"], request.path_params.get("version")
        model = self._models.get(name)
        if model is None:
            raise RefusedError(404, f"no model {name[:80]!r}, only {', '.join(self._models.names)}")
        if version not in (None, model.version):
            raise RefusedError(404, f"no version {version[:80]!r} of model '{model.name}', only {model.version}")
        return model


def _read(body: bytes, json_length: str | None, max_images: int) -> tuple[dict[str, Any], list[bytes]]:
    given, binary = split(body, json_length, max_images)
    if "id" in given and not (isinstance(given["id"], str) and is_unicode(given["id"])):  # it is sent back
        raise bad_request("id", given["id"], "a string")
    return given, input_images(given, binary, max_images)


def _parameters(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    parameters = given.get("parameters", {})
    if not isinstance(parameters, dict):
        raise bad_request(where, type(parameters).__name__, "a JSON object")
    return parameters


def _wanted(given: Mapping[str, Any], *, embedding: bool) -> Wanted:
    parameters = _parameters(given, "parameters")
    check_names("parameters", parameters, _PARAMETERS)
    for name in ("threshold", "min_familiarity"):
        if type(parameters.get(name, 0)) not in (int, float):
            raise bad_request(name, parameters[name], "0 to 1")
    return Wanted(None, parameters.get("threshold"), parameters.get("min_familiarity"), embedding)


def _outputs(given: Mapping[str, Any], model: Model) -> tuple[list[str], set[str]]:
    """Names of the outputs that are wanted, and those of them that are wanted as binary data."""
    known = [tensor.name for tensor in _tensors(model, [])]
    all_binary = _parameters(given, "parameters").get("binary_data_output", False) is True
    asked = given.get("outputs") or [{"name": name} for name in known if name not in _ON_REQUEST]
    names: list[str] = []
    binary: set[str] = set()
    for output in asked if isinstance(asked, list) else [asked]:
        name = output.get("name") if isinstance(output, dict) else output
        if name not in known or not isinstance(output, dict) or name in names:
            raise bad_request("outputs", name, f"a list of {', '.join(known)}, each once")
        names.append(name)
        if _parameters(output, "output's parameters").get("binary_data", all_binary) is True:
            binary.add(name)
    return names, binary


def _refuse_errors(results: Sequence[Result]) -> None:
    for number, result in enumerate(results, start=1):
        if isinstance(result, ImageError):
            which = f"image {number} of {len(results)}: " if len(results) > 1 else ""
            raise RefusedError(status_of(result), f"{which}{result.reason}")


def _tensors(model: Model, results: Sequence[Result]) -> list[Tensor]:
    """Every output; an image that has no answer has zeros, which is why `error` must be asked for."""
    classifier = model.classifier
    answers = [None if isinstance(result, ImageError) else result for result in results]
    tensors = [
        Tensor("label", "BYTES", [answer.label or "" if answer else "" for answer in answers]),
        Tensor("probabilities", "FP32", _probabilities(classifier.labels, answers)),
        Tensor("abstained", "BOOL", np.array([bool(answer and answer.abstained) for answer in answers], bool)),
        Tensor("reason", "BYTES", [answer.reason or "" if answer else "" for answer in answers]),
    ]
    if classifier.gives_several:
        tensors.append(Tensor("labels", "BYTES", [joined(answer.labels) if answer else "" for answer in answers]))
    if classifier.has_familiarity:
        values = [answer.familiarity if answer else 0.0 for answer in answers]
        tensors.append(Tensor("familiarity", "FP32", np.array(values, np.float32)))
    if classifier.has_embedding:
        tensors.append(Tensor("embedding", "FP32", _embeddings(model, answers)))
    errors = [result.reason if isinstance(result, ImageError) else "" for result in results]
    return [*tensors, Tensor("error", "BYTES", errors)]


def _probabilities(labels: Sequence[str], answers: Sequence[Classification | None]) -> np.ndarray[Any, Any]:
    places = {label: place for place, label in enumerate(labels)}
    values = np.zeros((len(answers), len(labels)), np.float32)
    for row, answer in zip(values, answers, strict=True):
        for score in answer.top if answer else ():
            row[places[score.label]] = score.probability
    return values


def _embeddings(model: Model, answers: Sequence[Classification | None]) -> np.ndarray[Any, Any]:
    values = np.zeros((len(answers), model.embedding_values), np.float32)
    for row, answer in zip(values, answers, strict=True):
        if answer is not None and answer.embedding is not None:
            row[:] = answer.embedding
    return values


def _response(about: dict[str, Any], tensors: Sequence[Tensor], binary: set[str]) -> Response:
    if not binary:
        return JSONResponse(about | {"outputs": [tensor.as_json() for tensor in tensors]})
    parts = [tensor.as_binary() if tensor.name in binary else (tensor.as_json(), b"") for tensor in tensors]
    head = json.dumps(about | {"outputs": [described for described, _ in parts]}).encode()
    headers = {HEADER_LENGTH: str(len(head))}
    return Response(head + b"".join(data for _, data in parts), 200, headers, "application/octet-stream")
