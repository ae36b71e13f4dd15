"""Reading the outline of an ONNX file without onnx: whether all weights are inside and all names are text.

onnxruntime resolves external data against the current folder, so a file from a stranger could make it read any other
file on this machine. A name that is no text breaks its error messages, and its Python part prints that. Source of the
field numbers: onnx.proto3 and the wire format of protocol buffers.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Schema = Mapping[int, Any]

_TEXT: Schema = {}
_TENSOR: dict[int, Any] = {8: _TEXT}
_GRAPH: dict[int, Any] = {}
_SPARSE: Schema = {1: _TENSOR, 2: _TENSOR}
_ATTRIBUTE: Schema = {
    1: _TEXT, 5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 21: _TEXT, 22: _SPARSE, 23: _SPARSE
}  # fmt: skip
_NODE: Schema = {1: _TEXT, 2: _TEXT, 3: _TEXT, 4: _TEXT, 5: _ATTRIBUTE, 7: _TEXT, 8: _TEXT}
_DIMENSION: Schema = {2: _TEXT, 3: _TEXT}
_TYPE: Schema = {1: {2: {1: _DIMENSION}}, 6: _TEXT}  # of tensors
_VALUE: Schema = {1: _TEXT, 2: _TYPE}
_GRAPH |= {1: _NODE, 2: _TEXT, 5: _TENSOR, 11: _VALUE, 12: _VALUE, 13: _VALUE, 15: _SPARSE}
_TRAINING: Schema = {1: _GRAPH, 2: _GRAPH}
_FUNCTION: Schema = {1: _TEXT, 4: _TEXT, 5: _TEXT, 6: _TEXT, 7: _NODE, 10: _TEXT, 11: _ATTRIBUTE}
_OPERATORS: Schema = {1: _TEXT}
_MODEL: Schema = {7: _GRAPH, 8: _OPERATORS, 20: _TRAINING, 25: _FUNCTION}

_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor
_OPERATOR = 4  # of a node
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Contents(NamedTuple):
    """What is in a file.

    Attributes:
        has_external_data: whether any tensor has its values somewhere else.
        operators: of all its nodes, those of subgraphs and functions, too.

    """

    has_external_data: bool
    operators: frozenset[bytes]


def read_contents(model: bytes) -> Contents:
    """Go through all messages of the file.

    Raises:
        ValueError: not in the wire format, or a name is not UTF-8; the message names the byte.

    """
    is_outside, operators = False, set()
    # A stack, not recursion: a hostile file can nest as deep as it is long.
    open_messages: list[tuple[int, int, Schema]] = [(0, len(model), _MODEL)]
    while open_messages:
        start, end, schema = open_messages.pop()
        for field, value_start, value_end in _fields(model, start, end):
            if schema is _TENSOR and field == _EXTERNAL_DATA:
                is_outside = True
            if schema is _TENSOR and field == _DATA_LOCATION and any(model[value_start:value_end]):
                is_outside = True
            if schema is _NODE and field == _OPERATOR:
                operators.add(model[value_start:value_end])
            if schema.get(field) is _TEXT:
                _check_text(model, value_start, value_end)
            elif field in schema:
                open_messages.append((value_start, value_end, schema[field]))
    return Contents(is_outside, frozenset(operators))


def _check_text(data: bytes, start: int, end: int) -> None:
    try:
        data[start:end].decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {start + error.start}: a name that is not UTF-8") from error


def _fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The number of each field, and where its value begins and ends."""
    while position < end:
        start = position
        key, position = _varint(data, position, end)
        wire = key & 7
        if wire == _VARINT:
            value_start = position
            _, position = _varint(data, position, end)
        elif wire == _BYTES:
            length, value_start = _varint(data, position, end)
            position = value_start + length
        elif wire in (_FIXED64, _FIXED32):
            value_start = position
            position += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"byte {start}: unknown wire type {wire}")
        if position > end:
            raise ValueError(f"byte {start}: a field that ends after the file")
        yield key >> 3, value_start, position


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    if position < end and data[position] < 128:  # nearly always
        return data[position], position + 1
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError(f"byte {position}: a number that does not end")
