"""Files as they were written before the resize was made of portable operators: two antialiased `Resize` in an `If`."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PORTABLE_ANSWER = "preprocess/resized"


def with_earlier_resize(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a `squash`, `bilinear`, `rgb` file that resizes as files did until then."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (place,) = [number for number, node in enumerate(copy.graph.node) if PORTABLE_ANSWER in node.output]
    kept = list(copy.graph.node)[place + 1 :]
    del copy.graph.node[:]
    copy.graph.node.extend([*_earlier_resize(copy.graph), *kept])
    return copy


def _earlier_resize(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    graph.initializer.append(numpy_helper.from_array(np.asarray(1 << 21), "limit"))
    filters = {"mode": "linear", "antialias": 1, "exclude_outside": 1, "coordinate_transformation_mode": "half_pixel"}
    in_uint8 = [
        helper.make_node("Resize", ["planes", "", "", "sizes"], ["small"], **filters),
        helper.make_node("Cast", ["small"], ["then"], to=TensorProto.FLOAT),
    ]
    in_float = [
        helper.make_node("Cast", ["planes"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Resize", ["wide", "", "", "sizes"], ["unrounded"], **filters),
        helper.make_node("Round", ["unrounded"], ["else"]),
    ]
    return [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Shape", ["planes"], ["kept"], start=0, end=2),
        helper.make_node("Concat", ["kept", "preprocess/height_and_width"], ["sizes"], axis=0),
        helper.make_node("Shape", ["planes"], ["sides"], start=2, end=4),
        helper.make_node("ReduceProd", ["sides"], ["pixels"], keepdims=0),
        helper.make_node("Greater", ["pixels", "limit"], ["is_large"]),
        helper.make_node(
            "If", ["is_large"], [PORTABLE_ANSWER], name=PORTABLE_ANSWER,
            then_branch=_branch(in_uint8, "then"), else_branch=_branch(in_float, "else"),
        ),
    ]  # fmt: skip


def _branch(nodes: list[onnx.NodeProto], name: str) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])
