"""Putting the file together: preprocessing graph + network + softmax + metadata."""

import json

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from tl_infer.contract import INPUT_NAME, LOGITS, NAMES_KEY, PROBABILITIES, SPEC_KEY, ModelSpec
from tl_train.onnx_graph import OPSET
from tl_train.preprocess import TENSOR_NAME, build_graph


def assemble(network: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """The finished model: `image` uint8 [N, H, W, 3] -> `probabilities` and `logits`, float32 [N, C].

    Args:
        network: input `tensor` float32 [N, 3, h, w], output `logits`.
        spec: decides the preprocessing and the temperature, and is written into the file.

    Returns:
        A model that passed the ONNX checker.

    """
    preprocessing = build_graph(spec.preprocess)
    network.ir_version = preprocessing.ir_version  # no newer than the opset needs, for older runtimes
    model = compose.merge_models(
        preprocessing, network, io_map=[(TENSOR_NAME, TENSOR_NAME)], name="tl-toolkit",
        producer_name="tl-toolkit", producer_version=spec.versions.get("tl-toolkit", ""),
        doc_string=f"{spec.architecture}: RGB pictures of any size to {len(spec.labels)} classes",
    )  # fmt: skip
    _add_softmax(model.graph, spec.temperature)
    _declare_signature(model.graph, len(spec.labels))
    # merge_models lists the domain once per part, and some importers reject shapes noted before the merge.
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OPSET))
    del model.graph.value_info[:]
    set_spec(model, spec)
    onnx.checker.check_model(model, full_check=True)
    return model


def set_spec(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Write (or replace) what the file says of itself."""
    names = {str(index): label for index, label in enumerate(spec.labels)}
    del model.metadata_props[:]
    helper.set_model_props(model, {SPEC_KEY: spec.to_json(), NAMES_KEY: json.dumps(names, ensure_ascii=False)})


def _add_softmax(graph: onnx.GraphProto, temperature: float) -> None:
    """Probabilities = softmax(logits / temperature)."""
    graph.initializer.append(numpy_helper.from_array(np.asarray(temperature, np.float32), "temperature"))
    graph.node.extend(
        [
            helper.make_node("Div", [LOGITS, "temperature"], ["scaled_logits"], name="calibrate"),
            helper.make_node("Softmax", ["scaled_logits"], [PROBABILITIES], name="softmax", axis=-1),
        ]
    )


def _declare_signature(graph: onnx.GraphProto, classes: int) -> None:
    """Inputs and outputs with the contract's names, types, axes and a line of documentation each."""
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", "H", "W", 3])
    image.doc_string = "RGB pictures of one size, upright (EXIF orientation applied), stored values"
    outputs = []
    for name, doc in (
        (PROBABILITIES, "softmax(logits / temperature); rows sum to 1, columns in the order of the labels"),
        (LOGITS, "the network's answer before temperature and softmax"),
    ):
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", classes])
        output.doc_string = doc
        outputs.append(output)
    del graph.input[:]
    graph.input.append(image)
    del graph.output[:]
    graph.output.extend(outputs)
