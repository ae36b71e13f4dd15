"""The network inside a finished file: taking it out, and putting a changed one back in an otherwise unchanged file."""

from collections.abc import Iterator

import onnx
from onnx import TensorProto, helper

from tl_export.errors import ExportError
from tl_export.graph.familiarity import PREFIX
from tl_infer.model.contract import LOGITS, SPEC_KEY, ModelSpec
from tl_train.preprocess.graph import TENSOR_NAME


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy, to be changed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def network_part(model: onnx.ModelProto) -> onnx.ModelProto:
    """What lies between the preprocessing and the softmax, as a model of its own.

    Args:
        model: a finished file, as `assemble` makes it.

    Returns:
        Input `tensor` float32 [N, 3, h, w]; outputs `logits` and whatever else the file gives that the network
        computes. The weights are copies.

    Raises:
        ExportError: the file has no such boundary, or a node without a name.

    """
    _, nodes, _ = _split(model.graph)
    used = {name for node in nodes for name in reads(node)}
    made = {name for node in nodes for name in node.output}
    outputs = [output for output in model.graph.output if output.name in made]
    if LOGITS not in {output.name for output in outputs}:
        raise ExportError(f"the model has no output '{LOGITS}' that its network computes; expected one of tl-export")
    height, width = spec_of(model).preprocess.size
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(TENSOR_NAME, TensorProto.FLOAT, ["N", 3, height, width])],
        outputs,
        [tensor for tensor in model.graph.initializer if tensor.name in used],
    )
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)


def with_network(model: onnx.ModelProto, network: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the file with another network in place of its own.

    Args:
        model: a finished file.
        network: as `network_part` gives it, with any nodes and weights but the same input and outputs.

    Returns:
        A model that passed the ONNX checker: preprocessing, softmax, signature, metadata, opset and IR version are
        those of `model`.

    Raises:
        ExportError: the network needs operators that the file's opset does not have.

    """
    before, old, after = _split(model.graph)
    if foreign := {node.domain for node in network.graph.node} - {"", "ai.onnx"}:
        raise ExportError(f"the network needs operators of {sorted(foreign)}, which not every runtime has")
    kept = {name for node in (*before, *after) for name in reads(node)}
    dropped = {name for node in old for name in reads(node)} - kept
    result = copy_of(model)
    del result.graph.node[:]
    result.graph.node.extend([*before, *network.graph.node, *after])
    weights = [tensor for tensor in model.graph.initializer if tensor.name not in dropped]
    there = {tensor.name for tensor in weights}
    weights += [tensor for tensor in network.graph.initializer if tensor.name not in there]
    del result.graph.initializer[:]
    result.graph.initializer.extend(weights)
    onnx.checker.check_model(result, full_check=True)
    return result


def spec_of(model: onnx.ModelProto) -> ModelSpec:
    """The file's spec.

    Raises:
        ExportError: it has none, so it was not made by tl-export.
        ModelFileError: its spec is damaged.

    """
    for entry in model.metadata_props:
        if entry.key == SPEC_KEY:
            return ModelSpec.from_json(entry.value)
    raise ExportError(f"the model has no '{SPEC_KEY}'; expected one that tl-export assembled")


def leads_to(nodes: list[onnx.NodeProto], name: str) -> set[str]:
    """Every value that `name` is computed from, itself included."""
    found = {name}
    for node in reversed(nodes):  # ONNX lists nodes in the order in which they can run
        if found.intersection(node.output):
            found.update(reads(node))
    return found


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node reads, also inside the branches of an `If`."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from reads(inner)


def _split(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto], list[onnx.NodeProto]]:
    """The nodes before the network, those of the network, and those behind its logits and its embedding."""
    nodes = list(graph.node)
    sources = leads_to(nodes, TENSOR_NAME)
    before = [node for node in nodes if sources.intersection(node.output)]
    if not any(TENSOR_NAME in node.output for node in before):
        raise ExportError(f"the model has no value '{TENSOR_NAME}' behind its preprocessing; export it with tl-export")
    results = {LOGITS}
    after = []
    for node in nodes:
        if results.intersection(reads(node)) or node.name.startswith(PREFIX):
            results.update(node.output)
            after.append(node)
    others = {id(node) for node in (*before, *after)}
    return before, [node for node in nodes if id(node) not in others], after
