"""Tracing a network, or a part of one, to ONNX: the only module that calls torch.onnx."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence

import onnx
import torch
from torch import nn

from tl_infer.errors import first_line
from tl_infer.model.contract import LOGITS
from tl_train.errors import TracingError
from tl_train.models.naming import name_by_layer
from tl_train.preprocess.graph import TENSOR_NAME
from tl_train.preprocess.onnx_builder import OPSET


def trace(network: nn.Module, size: tuple[int, int], outputs: Sequence[str] = (LOGITS,)) -> onnx.ModelProto:
    """The network as ONNX.

    Args:
        network: takes float32 (N, 3, h, w) and gives as many tensors as there are `outputs`, the first axis of each N.
        size: (h, w), pixels; fixed in the result, because some networks compute their padding from it. N stays free.
        outputs: what to call the results.

    Returns:
        A model with input `tensor`, weights inside, and nothing in it of the machine it was made on.

    Raises:
        TracingError: torch cannot express the network in ONNX; names the layer.

    """
    network = network.cpu().to(memory_format=torch.contiguous_format).eval()
    # A batch of 1 would be taken for a constant.
    example = torch.zeros(2, 3, *size)
    try:
        model = _export(network, example, outputs)
    except Exception as error:
        layer = _layer_at_fault(network, example)
        raise TracingError(f"the network cannot be exported to ONNX: {layer}: {first_line(error)}") from error
    name_by_layer(model)
    return model


def _export(network: nn.Module, example: torch.Tensor, outputs: Sequence[str] | None) -> onnx.ModelProto:
    with _quiet(), _nothing_in_place(network), torch.no_grad():
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
def _nothing_in_place(network: nn.Module) -> Iterator[None]:
    """Let activations write new tensors: torch takes 2 of 6 seconds to rewrite the 33 in-place ReLU6 of a Lite0."""
    in_place = [module for module in network.modules() if getattr(module, "inplace", False) is True]
    for module in in_place:
        setattr(module, "inplace", False)  # noqa: B010 - to mypy, any attribute of a module is a tensor
    try:
        yield
    finally:
        for module in in_place:
            setattr(module, "inplace", True)  # noqa: B010


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
