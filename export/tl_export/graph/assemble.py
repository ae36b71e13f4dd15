"""Assembling the file: preprocessing graph + network + softmax or sigmoid + metadata."""

import json
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from tl_export.graph.familiarity import add_familiarity
from tl_infer.model.contract import (
    BIT_DEPTH_KEY,
    EMBEDDING,
    FAMILIARITY,
    HEATMAP,
    INPUT_NAME,
    LOGITS,
    NAMES_KEY,
    PROBABILITIES,
    SPEC_KEY,
    ModelSpec,
)
from tl_infer.model.golden import GOLDEN_KEY, GoldenSet
from tl_train.familiarity.score import Familiarity
from tl_train.preprocess.graph import TENSOR_NAME, build_graph
from tl_train.preprocess.onnx_builder import OPSET

_SIGMOID = "sigmoid(logits / temperatures): each label's own probability, columns in the order of the labels"
_TEMPERATURE = "temperature"
_OUTPUTS = {
    PROBABILITIES: "softmax(logits / temperature); rows sum to 1, columns in the order of the labels",
    LOGITS: "the network's answer before temperature and softmax",
    EMBEDDING: "what the last linear layer (or layers) of the network see of the picture: its pooled features",
    HEATMAP: "class activation map: the logits as they come from each part of the input; its mean is the logits",
    FAMILIARITY: "the share of held-back training pictures that are less familiar than this one, 0 to 1",
}


def assemble(
    network: onnx.ModelProto,
    spec: ModelSpec,
    outputs: Sequence[str] = (PROBABILITIES, LOGITS),
    familiarity: Familiarity | None = None,
) -> onnx.ModelProto:
    """The finished model: `image` uint8 [N, H, W, 3] -> `probabilities` float32 [N, C], and other outputs.

    Args:
        network: input `tensor` float32 [N, 3, h, w], output `logits` and maybe more; modified in place.
        spec: decides the preprocessing and the temperature, and is written into the file.
        outputs: of the file; all but `probabilities` and `familiarity` have to be outputs of the network.
        familiarity: what the output `familiarity` is to be; the network then has the output `embedding`.

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
    last = "softmax" if spec.task == "single" else "sigmoid"
    model.graph.doc_string = f"preprocess/...: pixels to `tensor`; then the network, by its layers; then the {last}"
    _add_probabilities(model.graph, spec)
    if familiarity is not None:
        add_familiarity(model.graph, familiarity)
    _declare_signature(model.graph, spec, outputs)
    # merge_models lists the domain once per part, and some importers reject shapes noted before the merge.
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OPSET))
    del model.graph.value_info[:]
    set_spec(model, spec)
    onnx.checker.check_model(model, full_check=True)
    return model


def leave_outputs(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """The model with only the named outputs; modified in place."""
    kept = [output for output in model.graph.output if output.name in outputs]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return model


def set_spec(
    model: onnx.ModelProto, spec: ModelSpec, golden: GoldenSet | None = None, bit_depth: int | None = None
) -> None:
    """Write or replace the file's metadata.

    Args:
        model: modified in place.
        spec: what the file is to say about itself.
        golden: its golden samples, if any.
        bit_depth: the bits that 16-bit images use, where that is not all of them.

    """
    names = {str(index): label for index, label in enumerate(spec.labels)}
    metadata = {SPEC_KEY: spec.to_json(), NAMES_KEY: json.dumps(names, ensure_ascii=False)}
    if golden is not None:
        metadata[GOLDEN_KEY] = golden.to_json()
    if bit_depth is not None:
        metadata[BIT_DEPTH_KEY] = str(bit_depth)
    del model.metadata_props[:]
    helper.set_model_props(model, metadata)


def set_temperature(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Let an assembled file divide its logits by the temperature of another spec, or by those; modified in place."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == _TEMPERATURE)
    tensor.CopyFrom(_divisor(spec))


def _add_probabilities(graph: onnx.GraphProto, spec: ModelSpec) -> None:
    """Probabilities = softmax(logits / temperature), or with several labels sigmoid(logits / temperatures)."""
    graph.initializer.append(_divisor(spec))
    graph.node.append(helper.make_node("Div", [LOGITS, _TEMPERATURE], ["scaled_logits"], name="calibrate"))
    if spec.task == "single":
        last = helper.make_node("Softmax", ["scaled_logits"], [PROBABILITIES], name="softmax", axis=-1)
    else:
        last = helper.make_node("Sigmoid", ["scaled_logits"], [PROBABILITIES], name="sigmoid")
    graph.node.append(last)


def _divisor(spec: ModelSpec) -> onnx.TensorProto:
    divisor = spec.temperature if spec.temperatures is None else spec.temperatures
    return numpy_helper.from_array(np.asarray(divisor, np.float32), _TEMPERATURE)


def _declare_signature(graph: onnx.GraphProto, spec: ModelSpec, names: Sequence[str]) -> None:
    """Inputs and outputs with the contract's names, types, axes and a line of documentation each."""
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", "H", "W", 3])
    image.doc_string = "RGB pictures of one size, upright (EXIF orientation applied), stored values"
    found = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.output}
    outputs = []
    for name in names:
        is_inner = name in (EMBEDDING, HEATMAP)
        shape: list[str | int | None] = ["N", *found[name][1:]] if is_inner else ["N", len(spec.labels)]
        shape = ["N"] if name == FAMILIARITY else shape
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        output.doc_string = _SIGMOID if name == PROBABILITIES and spec.task == "multi" else _OUTPUTS[name]
        outputs.append(output)
    del graph.input[:]
    graph.input.append(image)
    del graph.output[:]
    graph.output.extend(outputs)
