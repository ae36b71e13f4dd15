"""Writing ONNX graphs node by node; names carry a prefix so that they never meet those of the network."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18  # the first with an antialiased Resize; onnxruntime reads it since 1.14


class GraphBuilder:
    """Collects nodes and constants of the preprocessing."""

    def __init__(self) -> None:
        """Start with no nodes."""
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, TensorProto] = {}

    def node(self, op: str, inputs: Sequence[str], name: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        output = output or f"preprocess/{name}"
        self._nodes.append(helper.make_node(op, inputs, [output], name=f"preprocess/{name}", **attributes))
        return output

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike, name: str) -> str:
        """Add a constant, once per name; returns its name."""
        full_name = f"preprocess/{name}"
        self._constants[full_name] = numpy_helper.from_array(np.asarray(values, dtype), full_name)
        return full_name

    def whole(self, value: int) -> str:
        """An int64 constant [1]; returns its name."""
        return self.constant([value], np.int64, f"whole/{value}")

    def model(self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]) -> onnx.ModelProto:
        """The finished, checked model."""
        graph = helper.make_graph(self._nodes, "preprocess", inputs, outputs, list(self._constants.values()))
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph,
            opset_imports=opset,
            ir_version=helper.find_min_ir_version_for(opset),
            producer_name="tl-toolkit",
        )
        onnx.checker.check_model(model, full_check=True)
        return model


class Branch:
    """A chain of nodes inside an `If`; reads the values of the graph around it."""

    def __init__(self, name: str) -> None:
        """Start an empty chain."""
        self._name = f"preprocess/{name}"
        self._nodes: list[onnx.NodeProto] = []

    @property
    def last(self) -> list[str]:
        """The output of the last node, as inputs of the next."""
        return list(self._nodes[-1].output)

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> None:
        """Add a node to the chain."""
        name = f"{self._name}/{len(self._nodes)}_{op}"
        self._nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))

    def graph(self) -> onnx.GraphProto:
        """The branch; its output is the last node's, float."""
        output = helper.make_tensor_value_info(self.last[0], TensorProto.FLOAT, None)
        return helper.make_graph(self._nodes, self._name, [], [output])
