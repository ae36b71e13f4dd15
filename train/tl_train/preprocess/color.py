"""The colours of the preprocessing graph: RGB as it is, or luma."""

import numpy as np
from onnx import TensorProto

from tl_infer.model.contract import Color
from tl_train.preprocess.onnx_builder import GraphBuilder

# Luma of ITU-R BT.601 in 16-bit fixed point. Source: Pillow's Convert.c, macro L24, behind mode "L".
_LUMA = (19595, 38470, 7471)
_LUMA_HALF = 0x8000
_LUMA_BITS = 1 << 16


def channels(graph: GraphBuilder, pixels: str, color: Color, name: str) -> str:
    """uint8 [N, H, W, 3] -> float32 [N, c, H, W]: three channels, or one, bit for bit Pillow's `convert("L")`.

    The one channel becomes three again when the per-channel mean and std are applied.
    """
    planes = graph.node("Transpose", [pixels], f"{name}/planes", perm=[0, 3, 1, 2])
    wide = graph.node("Cast", [planes], f"{name}/float", to=TensorProto.FLOAT)
    if color == "rgb":
        return wide
    # All sums are whole numbers below 2^24, so float32 holds them exactly; whole numbers would take as much memory and
    # two more casts.
    weights = graph.constant(np.reshape(_LUMA, (1, 3, 1, 1)), np.float32, "luma_weights")
    weighted = graph.node("Mul", [wide, weights], f"{name}/weighted")
    total = graph.node("ReduceSum", [weighted, graph.whole(1)], f"{name}/total", keepdims=1)
    half, bits = (graph.constant(value, np.float32, f"luma/{value}") for value in (_LUMA_HALF, _LUMA_BITS))
    rounded = graph.node("Add", [total, half], f"{name}/rounded")
    return graph.node("Floor", [graph.node("Div", [rounded, bits], f"{name}/scaled")], f"{name}/luma")


def luma(color: tuple[int, int, int]) -> int:
    """The grey level of an RGB colour, by the formula of `channels`."""
    return (sum(level * weight for level, weight in zip(color, _LUMA, strict=True)) + _LUMA_HALF) // _LUMA_BITS
