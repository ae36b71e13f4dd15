"""A small network of random weights as ONNX, and inputs for it: what int8 is tried on without any training."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from tl_export.smaller.inputs import NetworkInputs

CLASSES, WIDTH, DEPTH = 4, 8, 6


def small_network() -> onnx.ModelProto:
    """Convolutions with Relu, pooled, and a head; the heatmap has a bias of its own, as the tracer makes it."""
    random = np.random.default_rng(0)
    nodes, tensors, value, channels = [], [], "tensor", 3
    for number in range(DEPTH):
        weight = random.normal(size=(WIDTH, channels, 3, 3)) / np.sqrt(4.5 * channels)
        tensors.append(numpy_helper.from_array(weight.astype(np.float32), f"w{number}"))
        tensors.append(numpy_helper.from_array(random.normal(size=WIDTH).astype(np.float32) / 10, f"b{number}"))
        nodes.append(helper.make_node("Conv", [value, f"w{number}", f"b{number}"], [f"c{number}"], f"conv{number}",
                                      pads=[1, 1, 1, 1]))  # fmt: skip
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"], f"relu{number}"))
        value, channels = f"r{number}", WIDTH
    tensors.append(numpy_helper.from_array(random.normal(size=(CLASSES, WIDTH)).astype(np.float32), "weight"))
    bias = random.normal(size=CLASSES).astype(np.float32) / 10
    tensors += [numpy_helper.from_array(bias, "bias"), numpy_helper.from_array(bias[:, None], "bias_column")]
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["seen"], "flatten"))
    nodes.append(helper.make_node("Gemm", ["seen", "weight", "bias"], ["logits"], "head", transB=1))
    nodes.append(helper.make_node("Reshape", [value, "places"], ["flat"], "flat"))
    nodes.append(helper.make_node("MatMul", ["weight", "flat"], ["at_places"], "at_places"))
    nodes.append(helper.make_node("Add", ["at_places", "bias_column"], ["heatmap"], "heatmap"))
    tensors.append(numpy_helper.from_array(np.array([-1, WIDTH, 256]), "places"))
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("tensor", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES]),
         helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["N", CLASSES, 256])], tensors,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def coarse_inputs(count: int) -> NetworkInputs:
    """Images of coarse random blocks, with random classes."""
    random = np.random.default_rng(1)
    coarse = random.integers(0, 256, (count, 3, 4, 4), dtype=np.uint8)
    scale, offset = np.full((3, 1, 1), 1 / 127.5, np.float32), np.full((3, 1, 1), -1, np.float32)
    levels = coarse.repeat(4, axis=2).repeat(4, axis=3)
    return NetworkInputs(levels, random.integers(0, CLASSES, count), scale, offset)


def convolutions_in_int8(network: onnx.ModelProto, folder: Path) -> int:
    """How many there are once onnxruntime has optimized the network."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4  # that the file is for this machine is what it is made for
    ort.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(folder / "optimized.onnx").graph.node
    return sum(node.op_type == "QLinearConv" for node in nodes)
