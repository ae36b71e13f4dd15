"""Tracing the network, normalised tensor -> logits: the only module that calls torch.onnx."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import onnx
import torch
from torch import nn

from tl_export.errors import ExportError
from tl_infer.contract import LOGITS
from tl_train.onnx_graph import OPSET
from tl_train.preprocess import TENSOR_NAME


def trace(model: nn.Module, size: tuple[int, int]) -> onnx.ModelProto:
    """The network as ONNX.

    Args:
        model: takes float32 (N, 3, h, w), gives logits (N, C).
        size: (h, w), pixels; fixed in the result, because some networks compute their padding from it. N stays free.

    Returns:
        A model with input `tensor` and output `logits`, weights inside.

    Raises:
        ExportError: torch cannot express the network in ONNX.

    """
    # A batch of 1 would be taken for a constant.
    example = torch.zeros(2, 3, *size)
    network = model.cpu().to(memory_format=torch.contiguous_format).eval()
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (example,),
                input_names=[TENSOR_NAME],
                output_names=[LOGITS],
                dynamic_shapes=({0: torch.export.Dim("N")},),
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(f"the network cannot be exported to ONNX: {lines[0][:200]}") from error
    assert program is not None
    return program.model_proto


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
