"""Names that a reader of the graph can follow: each node by the layer it came from, and no trace of this machine."""

import ast
from collections import Counter

import onnx

_SCOPES = "pkg.torch.onnx.name_scopes"
_NO_LAYER = "_empty_nn_module_stack_from_metadata_hook"  # the scope of a node that a pass of torch adds
_WRAPPER = "model."  # the attribute of a wrapper (as tl_export's `TappedNetwork`) that holds the network


def name_by_layer(model: onnx.ModelProto) -> None:
    """Call nodes and values `LAYER/OP`, constants `LAYER.weight` and the like; inputs and outputs keep their names.

    The exporter notes source lines with their full paths at every node. They go: the same run shall give the same
    bytes wherever torch is installed, and nobody who gets the file needs to know where that was.
    """
    graph = model.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for node in graph.node:
        layer = _layer(node)
        counts[f"{layer}/{node.op_type}"] += 1
        number = counts[f"{layer}/{node.op_type}"]
        node.name = f"{layer}/{node.op_type}" + (f"_{number}" if number > 1 else "")
        for place, output in enumerate(node.output):
            if output and output not in kept:
                names[output] = node.name + (f":{place}" if place else "")
        node.doc_string = ""
        del node.metadata_props[:]
    for tensor in graph.initializer:
        names[tensor.name] = _constant_name(tensor.name)
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    _rename(graph, names)
    del graph.value_info[:]
    del graph.metadata_props[:]
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Also inside branches and loops, which see the values around them."""
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename(inner, names)


def _constant_name(name: str) -> str:
    return name.removeprefix(_WRAPPER) if "." in name else f"network/{name}"


def _layer(node: onnx.NodeProto) -> str:
    """Dotted name of the layer that a node belongs to; `network` outside of any."""
    noted = {entry.key: entry.value for entry in node.metadata_props}
    scopes = ast.literal_eval(noted.get(_SCOPES, "[]"))  # a list of texts, written by torch a moment ago
    layer: str = scopes[-2] if len(scopes) > 1 else ""
    if layer == _NO_LAYER:
        return "network"
    return f"{layer}.".removeprefix(_WRAPPER).removesuffix(".") or "network"
