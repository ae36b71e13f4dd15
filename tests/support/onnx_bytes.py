"""A model file of our contract, written in ONNX's wire format by hand.

The runtime's tests must run where neither onnx nor torch is installed. The network averages each colour over the
picture and answers with the strongest: labels red, green, blue. Source of the field numbers: onnx.proto3.
"""

import dataclasses
import io
import math
import struct
from collections.abc import Mapping, Sequence

from PIL import Image

from tl_infer import FamiliaritySpec, ModelSpec, PreprocessSpec
from tl_infer.model.golden import GoldenSample, GoldenSet

UINT8, FLOAT = 2, 1

SPEC = ModelSpec(
    labels=("red", "green", "blue"),
    preprocess=PreprocessSpec(size=(1, 1), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    architecture="mean-colour",
    weights="none",
)


def color_model(
    spec: str | None = None,
    *,
    gain: float = 8 / 255,
    input_type: int = UINT8,
    columns: int = 3,
    output: str = "probabilities",
    golden: str = "",
    extras: bool = False,
    heatmap_columns: int = 3,
    external: bool = False,
    familiarity: str = "",
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """The model file.

    `spec` is the text under `tl.spec` (a good one when None, absent when empty), `golden` that under `tl.golden`.
    With `extras` the file has an embedding, the mean colour, and a heatmap, the channels; with `external` it says
    that a weight is in another file. With `familiarity`, the name of a further output, it says how bright the brightest
    colour is, 0..1. `metadata` has further entries.
    """
    entries = {"tl.spec": SPEC.to_json() if spec is None else spec, "tl.golden": golden}
    nodes = [
        _node("Cast", ["image"], "float", _attribute_int("to", FLOAT)),
        _node("ReduceMean", ["float", "axes"], "mean", _attribute_int("keepdims", 0)),
        _node("Mul", ["mean", "gain"], "logits"),
        _node("Softmax", ["logits"], output, _attribute_int("axis", -1)),
    ]
    outputs = [(output, ["N", columns]), ("logits", ["N", columns])]
    if extras:
        nodes += [
            _node("Identity", ["mean"], "embedding"),
            _node("Transpose", ["float"], "heatmap", _attribute_ints("perm", [0, 3, 1, 2])),
        ]
        outputs += [("embedding", ["N", 3]), ("heatmap", ["N", heatmap_columns, "H", "W"])]
    if familiarity:
        nodes += [
            _node("ReduceMax", ["mean", "last"], "brightest", _attribute_int("keepdims", 0)),
            _node("Mul", ["brightest", "per level"], familiarity),
        ]
        outputs.append((familiarity, ["N"]))
    constants = [
        _field(1, _varint(1), wire=0) + _field(2, _varint(7), wire=0) + _field(8, b"last")
        + _field(9, struct.pack("<q", 1)),
        _field(2, _varint(FLOAT), wire=0) + _field(8, b"per level") + _field(9, struct.pack("<f", 1 / 255)),
        _field(1, _varint(2), wire=0) + _field(2, _varint(7), wire=0) + _field(8, b"axes")
        + _field(9, struct.pack("<2q", 1, 2)),
        _field(2, _varint(FLOAT), wire=0) + _field(8, b"gain") + _field(9, struct.pack("<f", gain)),
    ]  # fmt: skip
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"mean-colour")
    graph += b"".join(_field(5, constant) for constant in constants)
    graph += _field(11, _value("image", input_type, ["N", "H", "W", 3]))
    if external:
        where = _field(1, b"location") + _field(2, b"/etc/passwd")
        graph += _field(5, _field(1, _varint(1), wire=0) + _field(2, _varint(FLOAT), wire=0) + _field(8, b"elsewhere")
                        + _field(13, where) + _field(14, _varint(1), wire=0))  # fmt: skip
    graph += b"".join(_field(12, _value(name, FLOAT, shape)) for name, shape in outputs)
    return _model(graph, {key: value for key, value in {**entries, **(metadata or {})}.items() if value})


def abstaining_spec(below: float) -> str:
    """The good spec with a threshold."""
    return dataclasses.replace(SPEC, abstain_below=below).to_json()


def familiar_spec(unfamiliar_below: float = 0.5, below: float | None = None) -> str:
    """The good spec of a model that tells how familiar images are."""
    familiarity = FamiliaritySpec(unfamiliar_below=unfamiliar_below, images=1000)
    return dataclasses.replace(SPEC, abstain_below=below, familiarity=familiarity).to_json()


def golden_set(error: float = 0.0, familiarity: float | None = None) -> str:
    """Golden samples for the model of gain 8 / 255; `error` is what is wrong with their probabilities."""
    others = 1 / (2 + math.exp(8))
    samples = []
    for index, color in enumerate(("#ff0000", "#00ff00")):
        buffer = io.BytesIO()
        Image.new("RGB", (4, 4), color).save(buffer, "PNG")
        probabilities = [others + error / 2] * 3
        probabilities[index] = 1 - 2 * others - error
        samples.append(GoldenSample(name=color, png=buffer.getvalue(), probabilities=tuple(probabilities),
                                    familiarity=familiarity))  # fmt: skip
    of_familiarity = None if familiarity is None else 1e-3
    return GoldenSet(samples=tuple(samples), tolerance=1e-4, familiarity_tolerance=of_familiarity).to_json()


def _model(graph: bytes, metadata: Mapping[str, str]) -> bytes:
    model = _field(1, _varint(8), wire=0) + _field(7, graph) + _field(8, _field(2, _varint(18), wire=0))
    for key, value in metadata.items():
        model += _field(14, _field(1, key.encode()) + _field(2, value.encode()))
    return model


def _node(op: str, inputs: Sequence[str], output: str, *attributes: bytes) -> bytes:
    node = b"".join(_field(1, name.encode()) for name in inputs) + _field(2, output.encode()) + _field(4, op.encode())
    return node + b"".join(_field(5, attribute) for attribute in attributes)


def _attribute_int(name: str, value: int) -> bytes:
    return _field(1, name.encode()) + _field(3, _varint(value), wire=0) + _field(20, _varint(2), wire=0)


def _attribute_ints(name: str, values: Sequence[int]) -> bytes:
    packed = b"".join(_field(8, _varint(value), wire=0) for value in values)
    return _field(1, name.encode()) + packed + _field(20, _varint(7), wire=0)


def _value(name: str, element_type: int, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(
        _field(1, _field(1, _varint(dim), wire=0) if isinstance(dim, int) else _field(2, dim.encode())) for dim in shape
    )
    tensor = _field(1, _varint(element_type), wire=0) + _field(2, dims)
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(number: int, payload: bytes, *, wire: int = 2) -> bytes:
    return _varint(number << 3 | wire) + (_varint(len(payload)) if wire == 2 else b"") + payload


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers as two's complement
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
