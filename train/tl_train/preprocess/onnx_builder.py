"""Writing ONNX graphs node by node; names carry a prefix so that they never meet those of the network."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18  # what torch's exporter writes; onnxruntime reads it since 1.14


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

    def scalar(self, value: int) -> str:
        """An int64 constant without axes; returns its name."""
        return self.constant(value, np.int64, f"scalar/{value}")

    def number(self, value: float) -> str:
        """A float32 constant without axes; returns its name."""
        return self.constant(value, np.float32, f"number/{value:g}")

    def unsqueezed(self, value: str, axis: int) -> str:
        """The value with one more axis; returns its name."""
        name = value.removeprefix("preprocess/")
        return self.node("Unsqueeze", [value, self.whole(axis)], f"{name}_axis_{axis}")

    def squeezed(self, value: str) -> str:
        """A value [1] without its axis; returns its name."""
        return self.node("Squeeze", [value, self.whole(0)], f"{value.removeprefix('preprocess/')}_scalar")

    def split(self, value: str, sizes: Sequence[int], name: str) -> list[str]:
        """Cut a value along its first axis into parts of these sizes; returns their names."""
        full_name = f"preprocess/{name}"
        outputs = [f"{full_name}/{number}" for number in range(len(sizes))]
        lengths = self.constant(sizes, np.int64, f"{name}/sizes")
        self._nodes.append(helper.make_node("Split", [value, lengths], outputs, name=f"{full_name}/split", axis=0))
        return outputs

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
