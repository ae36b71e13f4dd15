"""Model files that are not what they declare."""

import struct

from support.onnx_bytes import FLOAT, SPEC, UINT8, _attribute_int, _field, _model, _node, _value, _varint

# An empty value where a number is expected, at the end of the file: reading its first byte was an IndexError.
EMPTY_LOCATION = bytes.fromhex("3a042a027200")


def nested(depth: int, key: str = "labels") -> str:
    """A `tl.spec` with lists in lists."""
    return f'{{"version": 1, "{key}": {"[" * depth}{"]" * depth}}}'


def more_columns_for_taller_images() -> bytes:
    """Three probabilities for eight rows, three more for each eight further ones; declared are three."""
    nodes = [
        _node("Cast", ["image"], "float", _attribute_int("to", FLOAT)),
        _node("ReduceMean", ["float", "across"], "rows", _attribute_int("keepdims", 0)),
        _node("Slice", ["rows", "first", "beyond", "down", "eight"], "some"),
        _node("Reshape", ["some", "flat"], "logits"),
        _node("Softmax", ["logits"], "probabilities", _attribute_int("axis", -1)),
    ]
    constants = {"across": [2], "first": [0], "beyond": [1 << 30], "down": [1], "eight": [8], "flat": [1, -1]}
    return _file(nodes, constants, {"probabilities": ["N", 3], "logits": ["N", 3]})


def five_times_as_sure_of_red() -> bytes:
    """Probabilities for grey images; for red ones values of 5 and -4."""
    nodes = [
        _node("Cast", ["image"], "float", _attribute_int("to", FLOAT)),
        _node("ReduceMean", ["float", "both"], "mean", _attribute_int("keepdims", 0)),
        _node("Slice", ["mean", "zero", "one", "one"], "red"),
        _node("Slice", ["mean", "one", "two", "one"], "green"),
        _node("Sub", ["red", "green"], "redness"),
        _node("Softmax", ["mean"], "flat", _attribute_int("axis", -1)),
        _node("Mul", ["flat", "redness"], "more"),
        _node("Add", ["flat", "more"], "probabilities"),
    ]
    constants = {"both": [1, 2], "zero": [0], "one": [1], "two": [2]}
    return _file(nodes, constants, {"probabilities": ["N", 3]})


def wider_embedding_for_wider_images() -> bytes:
    """An embedding with a value for each column of the image; how many is not declared."""
    nodes = [
        _node("Cast", ["image"], "float", _attribute_int("to", FLOAT)),
        _node("ReduceMean", ["float", "both"], "mean", _attribute_int("keepdims", 0)),
        _node("Softmax", ["mean"], "probabilities", _attribute_int("axis", -1)),
        _node("ReduceMean", ["float", "rows"], "embedding", _attribute_int("keepdims", 0)),
    ]
    constants = {"both": [1, 2], "rows": [1, 3]}
    return _file(nodes, constants, {"probabilities": ["N", 3], "embedding": ["N", "D"]})


def _file(nodes: list[bytes], constants: dict[str, list[int]], outputs: dict[str, list[int | str]]) -> bytes:
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"odd")
    for name, values in constants.items():
        packed = struct.pack(f"<{len(values)}q", *values)
        head = _field(1, _varint(len(values)), wire=0) + _field(2, _varint(7), wire=0)
        graph += _field(5, head + _field(8, name.encode()) + _field(9, packed))
    graph += _field(11, _value("image", UINT8, ["N", "H", "W", 3]))
    graph += b"".join(_field(12, _value(name, FLOAT, shape)) for name, shape in outputs.items())
    return _model(graph, {"tl.spec": SPEC.to_json()})
