"""Tensors of the Open Inference Protocol, version 2: as JSON, or behind it in the binary form of its extension.

Source: the protocol's description of REST, and its extension for binary tensor data, as KServe, Triton and OpenVINO
Model Server have them.
"""

import base64
import binascii
import dataclasses
import json
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tl_infer.serve.refusals import RefusedError, bad_request

IMAGE = "image"
HEADER_LENGTH = "inference-header-content-length"
_LENGTH = struct.Struct("<I")
_OTHER_VALUES = 1000  # of a request, besides its images; none has so many


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """One output.

    Attributes:
        name: of it.
        datatype: BYTES, BOOL or FP32.
        values: list of str, or array bool or float32; its first axis is the images.

    """

    name: str
    datatype: str
    values: "Sequence[str] | npt.NDArray[Any]"

    @property
    def shape(self) -> list[int]:
        """How many values along each axis."""
        return list(np.shape(self.values))

    def as_json(self) -> dict[str, object]:
        """With its values, flat."""
        data = self.values.reshape(-1).tolist() if isinstance(self.values, np.ndarray) else list(self.values)
        return {"name": self.name, "datatype": self.datatype, "shape": self.shape, "data": data}

    def as_binary(self) -> tuple[dict[str, object], bytes]:
        """Without its values, and those as bytes: little-endian, text with its length in front."""
        if isinstance(self.values, np.ndarray):
            data = np.ascontiguousarray(self.values).tobytes()
        else:
            texts = [text.encode() for text in self.values]
            data = b"".join(_LENGTH.pack(len(text)) + text for text in texts)
        about = {"name": self.name, "datatype": self.datatype, "shape": self.shape}
        return about | {"parameters": {"binary_data_size": len(data)}}, data


def split(body: bytes, json_length: str | None, max_images: int) -> tuple[dict[str, Any], bytes]:
    """The JSON of a request, and the binary data behind it.

    Raises:
        RefusedError: the JSON is not an object, longer than the body, or has more values than so many images need.

    """
    length = len(body)
    if json_length is not None:
        if not (re.fullmatch("[0-9]{1,20}", json_length) and int(json_length) <= len(body)):
            raise bad_request("Inference-Header-Content-Length", json_length, f"0 to {len(body)}, the body's length")
        length = int(json_length)
    # Nobody else is answered while Python makes millions of values; base64 has no commas.
    if body.count(b",", 0, length) > max_images + _OTHER_VALUES:
        raise RefusedError(413, f"JSON of more than {max_images + _OTHER_VALUES} values, the limit")
    try:
        values = json.loads(body[:length])
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "the request is not JSON; images follow it, or are base64 in it") from error
    if not isinstance(values, dict):
        raise bad_request("request", type(values).__name__, "a JSON object")
    return values, body[length:]


def input_images(request: Mapping[str, Any], binary: bytes, max_images: int) -> list[bytes]:
    """The bytes of the image files in the one input.

    Raises:
        RefusedError: another input, type or shape than the model's, the data do not fit it, or too many images.

    """
    given = request.get("inputs")
    if not isinstance(given, list) or len(given) != 1 or not isinstance(given[0], dict):
        raise RefusedError(400, f"inputs: expected a list of one, '{IMAGE}'")
    tensor = given[0]
    for key, expected in (("name", IMAGE), ("datatype", "BYTES")):
        if tensor.get(key) != expected:
            raise bad_request(f"input's {key}", tensor.get(key), expected)
    shape = tensor.get("shape")
    if not isinstance(shape, list) or len(shape) != 1 or type(shape[0]) is not int or shape[0] < 1:
        raise bad_request("input's shape", shape, "[N], the number of images")
    if "data" in tensor:
        images = _texts(tensor["data"], max_images)
    else:
        images = _chunks(binary, _binary_size(tensor, len(binary)), max_images)
    if len(images) != shape[0]:
        raise bad_request("input's shape", shape, f"[{len(images)}], as there are so many images")
    return images


def _binary_size(tensor: Mapping[str, Any], there: int) -> int:
    parameters = tensor.get("parameters") or {}
    size = parameters.get("binary_data_size", there) if isinstance(parameters, dict) else None
    if type(size) is not int or size != there:
        raise bad_request("binary_data_size", size, f"{there}, the bytes behind the JSON")
    return size


def _texts(data: Any, max_images: int) -> list[bytes]:
    if not isinstance(data, list) or not all(isinstance(text, str) for text in data):
        raise RefusedError(400, "input's data: expected a list of image files in base64")
    if len(data) > max_images:
        raise _too_many(max_images)
    try:
        return [base64.b64decode(text, validate=True) for text in data]
    except (binascii.Error, ValueError) as error:
        raise RefusedError(400, "input's data: not base64, expected a list of image files in base64") from error


def _chunks(binary: bytes, size: int, max_images: int) -> list[bytes]:
    chunks: list[bytes] = []
    position = 0
    while position < size:
        if len(chunks) == max_images:
            raise _too_many(max_images)
        end = position + _LENGTH.size
        if end <= size:
            end += _LENGTH.unpack_from(binary, position)[0]
        if end > size:
            raise RefusedError(400, "binary data: cut short; expected each image behind its length in four bytes")
        chunks.append(binary[position + _LENGTH.size : end])
        position = end
    return chunks


def _too_many(max_images: int) -> RefusedError:
    return RefusedError(413, f"more than {max_images} images in one request, the limit")
