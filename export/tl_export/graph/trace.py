"""Tracing the network, normalised tensor -> logits and more, with names that a reader of the graph can follow.

The only module that calls torch.onnx.
"""

import ast
import contextlib
import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence

import onnx
import torch
from torch import nn

from tl_export.errors import ExportError
from tl_infer.model.contract import LOGITS
from tl_train.preprocess.graph import TENSOR_NAME
from tl_train.preprocess.onnx_builder import OPSET

_SCOPES = "pkg.torch.onnx.name_scopes"
_WRAPPER = "model."  # the attribute of `TappedNetwork` that holds the network


def trace(network: nn.Module, size: tuple[int, int], outputs: Sequence[str] = (LOGITS,)) -> onnx.ModelProto:
    """The network as ONNX.

    Args:
        network: takes float32 (N, 3, h, w), returns as many tensors as there are `outputs`, the first axis of each N.
        size: (h, w), pixels; fixed in the result, because some networks compute their padding from it. N stays free.
        outputs: names of the results.

    Returns:
        A model with input `tensor` and its weights inside; nothing in it tells of the machine it was made on.

    Raises:
        ExportError: torch cannot express the network in ONNX; names the layer.

    """
    network = network.cpu().to(memory_format=torch.contiguous_format).eval()
    # The exporter takes a batch of 1 for a constant.
    example = torch.zeros(2, 3, *size)
    try:
        model = _export(network, example, outputs)
    except Exception as error:
        layer = _layer_at_fault(network, example)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(f"the network cannot be exported to ONNX: {layer}: {lines[0][:200]}") from error
    _name_by_layer(model)
    return model


def _export(network: nn.Module, example: torch.Tensor, outputs: Sequence[str] | None) -> onnx.ModelProto:
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[TENSOR_NAME],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("N")},),
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _name_by_layer(model: onnx.ModelProto) -> None:
    """Name nodes and values `LAYER/OP`, constants `LAYER.weight` and the like; inputs and outputs keep their names.

    The exporter notes source lines with their full paths at every node. They go: the same run gives the same bytes
    wherever torch is installed, and whoever gets the file need not know where that was.
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
    """Rename values, also inside branches and loops, which see the values around them."""
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
    """Dotted name of the layer that a node belongs to; `network` outside of any layer."""
    noted = {entry.key: entry.value for entry in node.metadata_props}
    scopes = ast.literal_eval(noted.get(_SCOPES, "[]"))  # a list of texts, written by torch a moment ago
    layer: str = scopes[-2] if len(scopes) > 1 else ""
    return f"{layer}.".removeprefix(_WRAPPER).removesuffix(".") or "network"


def _layer_at_fault(network: nn.Module, example: torch.Tensor) -> str:
    """Dotted name and class of the innermost layer that cannot be exported by itself."""
    path, layer = "", network
    while True:
        inputs = _inputs_of_children(layer, example)
        for name, child in layer.named_children():
            if name in inputs and not _exports(child, inputs[name]):
                path, layer, example = f"{path}.{name}".removeprefix("."), child, inputs[name]
                break
        else:
            return f"layer '{path.removeprefix('model.')}' ({type(layer).__name__})" if path else type(layer).__name__


def _inputs_of_children(layer: nn.Module, example: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each child is called with; those that take anything but one tensor are left out."""
    inputs: dict[str, torch.Tensor] = {}

    def keep(name: str, given: tuple[object, ...]) -> None:
        if len(given) == 1 and isinstance(given[0], torch.Tensor):
            inputs[name] = given[0]

    handles = [
        child.register_forward_pre_hook(lambda _, given, name=name: keep(name, given))
        for name, child in layer.named_children()
    ]
    try:
        with torch.no_grad(), contextlib.suppress(Exception):
            layer(example)
    finally:
        for handle in handles:
            handle.remove()
    return inputs


def _exports(layer: nn.Module, example: torch.Tensor) -> bool:
    try:
        _export(layer, example, None)
    except Exception:  # noqa: BLE001 - whatever torch raises, this layer is the one to look into
        return False
    return True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about its own internals from the user's terminal; errors still raise."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
