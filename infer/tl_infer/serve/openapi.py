"""The OpenAPI document of the service."""

from collections.abc import Sequence
from typing import Any

import tl_infer
from tl_infer.serve.classify import OPTIONS

_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_TEXT = {"type": "string"}
_ERROR = {"$ref": "#/components/schemas/Error"}


def openapi_document(models: Sequence[str]) -> dict[str, Any]:
    """What the service takes and gives, for these models."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "tl-infer serve", "version": tl_infer.__version__, "description": _ABOUT},
        "paths": {
            "/classify": {"post": _classify(models)},
            "/v2": {"get": _get("The server", "Server")},
            "/v2/health/live": {"get": _get("Whether the process answers", "Live")},
            "/v2/health/ready": {"get": _get("Whether the models answer", "Ready")},
            **_of_models(models),
            "/metrics": {"get": _get_text("Metrics, as Prometheus reads them")},
            "/openapi.json": {"get": _get("This document", "Document")},
        },
        "components": {"schemas": _SCHEMAS},
    }


_ABOUT = (
    'Image files in, classes out. Errors are {"error": reason}: 400 the request makes no sense, 404 no such model, '
    "408 it came too slowly, 413 it is too large, 422 not an image, 503 too busy (see Retry-After)."
)


def _of_models(models: Sequence[str]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "enum": list(models)}}
    version = {"name": "version", "in": "path", "required": True, "schema": _TEXT}
    for place, parameters in (("/v2/models/{name}", [name]), ("/v2/models/{name}/versions/{version}", [name, version])):
        paths[place] = {"parameters": parameters, "get": _get("Inputs, outputs and labels of a model", "Model")}
        paths[f"{place}/ready"] = {"parameters": parameters, "get": _get("Whether a model answers", "ModelReady")}
        paths[f"{place}/infer"] = {"parameters": parameters, "post": _infer()}
    return paths


def _classify(models: Sequence[str]) -> dict[str, Any]:
    number = {"type": "string", "pattern": "^([1-9][0-9]{0,8}|all)$", "default": "1"}
    schemas = {
        "model": {"type": "string", "enum": list(models)}, "top_k": number, "threshold": _SHARE,
        "min_familiarity": _SHARE,
    }  # fmt: skip
    about = {
        "model": "May be left out if there is one.",
        "top_k": "How many classes to name, or all.",
        "threshold": "Abstain as unsure below this probability; of several labels, give those that reach "
        "it. The default is the model's own.",
        "min_familiarity": "Abstain as unfamiliar below this familiarity; the default is the model's own.",
    }
    parameters = [
        {"name": name, "in": "query", "description": about[name], "schema": schemas[name],
         "required": name == "model" and len(models) > 1}
        for name in OPTIONS
    ]  # fmt: skip
    files = {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}
    answers = {"oneOf": [{"$ref": "#/components/schemas/Answer"}, {"$ref": "#/components/schemas/Answers"}]}
    return {
        "summary": "Classify an image file, or several as multipart/form-data",
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                        "multipart/form-data": {"schema": files}},
        },
        "responses": _responses("application/json", answers),
    }  # fmt: skip


def _infer() -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "summary": "Classify image files, by the Open Inference Protocol",
        "description": (
            "Images are base64 in the JSON, or behind it, each after its length in four little-endian bytes; the "
            "header Inference-Header-Content-Length then gives the length of the JSON."
        ),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Inference"}},
                        "application/octet-stream": binary},
        },
        "responses": {
            "200": {
                "description": "The outputs",
                "content": {"application/json": {"schema": {"type": "object"}}, "application/octet-stream": binary},
            },
            "default": _error(),
        },
    }  # fmt: skip


def _get(about: str, schema: str) -> dict[str, Any]:
    known = {"$ref": f"#/components/schemas/{schema}"} if schema in _SCHEMAS else {"type": "object"}
    return {"summary": about, "responses": _responses("application/json", known)}


def _get_text(about: str) -> dict[str, Any]:
    return {"summary": about, "responses": _responses("text/plain", _TEXT)}


def _responses(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"200": {"description": "Done", "content": {kind: {"schema": schema}}}, "default": _error()}


def _error() -> dict[str, Any]:
    return {"description": "Not answered", "content": {"application/json": {"schema": _ERROR}}}


def _object(required: Sequence[str], **properties: object) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_ROW: dict[str, Any] = {
    "label": _or_null(_TEXT),
    "labels": {"type": "array", "items": _TEXT},
    "probability": _or_null(_SHARE),
    "top": {"type": "array", "items": _object(["label", "probability"], label=_TEXT, probability=_SHARE)},
    "abstained": {"type": "boolean"},
    "reason": {"enum": ["unsure", "unfamiliar", None]},
    "familiarity": _or_null(_SHARE),
    "error": _or_null(_TEXT),
}
_SCHEMAS: dict[str, Any] = {
    "Error": _object(["error"], error=_TEXT),
    "Answer": _object(["model", "version", *_ROW], model=_TEXT, version=_TEXT, **_ROW),
    "Answers": _object(
        ["model", "version", "results"], model=_TEXT, version=_TEXT,
        results={"type": "array", "items": _object(["name", *_ROW], name=_TEXT, **_ROW)},
    ),
    "Live": _object(["live"], live={"type": "boolean"}),
    "Ready": _object(["ready"], ready={"type": "boolean"}),
    "Server": _object(["name", "version"], name=_TEXT, version=_TEXT),
    "ModelReady": _object(["name", "ready"], name=_TEXT, ready={"type": "boolean"}),
    "Model": _object(["name", "versions", "platform", "inputs", "outputs"], name=_TEXT),
    "Inference": _object(
        ["inputs"],
        id=_TEXT,
        inputs={
            "type": "array", "minItems": 1, "maxItems": 1,
            "items": _object(
                ["name", "datatype", "shape", "data"], name={"const": "image"}, datatype={"const": "BYTES"},
                shape={"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "integer", "minimum": 1}},
                data={"type": "array", "items": {"type": "string", "contentEncoding": "base64"}},
            ),
        },
        outputs={"type": "array", "items": _object(["name"], name=_TEXT)},
        parameters=_object([], threshold=_SHARE, min_familiarity=_SHARE, binary_data_output={"type": "boolean"}),
    ),
}  # fmt: skip
