"""The resize of the preprocessing graph: antialiased, never more than one grey level from Pillow's, one axis at a time.

Pillow resizes uint8 pictures in two passes, each rounded to whole levels. Two such roundings that differ at a tie end
up two levels apart, so pictures up to `FLOAT_RESIZE_MAX_PIXELS` are resized in float32 and rounded once, at the end:
the rounding between Pillow's passes moves its result by less than one level, hence never more than one level apart.
Float takes twelve bytes a pixel, though, so larger pictures are resized in uint8: as fast, 200 MB less for 12
megapixels, and a second level of difference was seen in 1 of 50,000 tiny pictures.

Bicubic overshoots at edges, and Pillow cuts what leaves 0..255 after each pass, so the order of the passes matters.
Here it is horizontal, cut, vertical, cut, as in Pillow before 13 and in torchvision. Pillow 13 does the vertical pass
of some tall pictures first: see docs/model-file.md for how far apart that is.
"""

import numpy as np
from onnx import TensorProto

from tl_infer.model.contract import Resample
from tl_train.preprocess.onnx_builder import Branch, GraphBuilder

# Just above 1920 x 1080.
FLOAT_RESIZE_MAX_PIXELS = 1 << 21

# `exclude_outside` renormalises the filter at the borders; without it border values are off by up to 16 levels.
_COMMON: dict[str, str | float] = {"antialias": 1, "exclude_outside": 1, "coordinate_transformation_mode": "half_pixel"}

# Source: Pillow's Resample.c, bilinear_filter and bicubic_filter (a = -0.5).
_FILTERS: dict[Resample, dict[str, str | float]] = {
    "bilinear": {"mode": "linear", **_COMMON},
    "bicubic": {"mode": "cubic", "cubic_coeff_a": -0.5, **_COMMON},
}


def resize(graph: GraphBuilder, value: str, height_and_width: str, resample: Resample) -> str:
    """uint8 [N, c, H, W] and int64 [2] -> float [N, c, h, w] with whole grey levels 0..255."""
    batch_and_channels = graph.node("Shape", [value], "batch_and_channels", start=0, end=2)
    sizes = graph.node("Concat", [batch_and_channels, height_and_width], "sizes", axis=0)
    is_large = _has_more_pixels_than(graph, value, FLOAT_RESIZE_MAX_PIXELS)
    in_uint8, in_float = Branch("resize_uint8"), Branch("resize_float")
    in_uint8.node("Resize", [value, "", "", sizes], **_FILTERS[resample])
    in_uint8.node("Cast", in_uint8.last, to=TensorProto.FLOAT)
    in_float.node("Cast", [value], to=TensorProto.FLOAT)
    if resample == "bicubic":
        _horizontal_pass(graph, in_float, value, sizes)
    in_float.node("Resize", [*in_float.last, "", "", sizes], **_FILTERS[resample])
    if resample == "bicubic":
        _cut(graph, in_float)
    in_float.node("Round", in_float.last)
    return graph.node("If", [is_large], "resized", then_branch=in_uint8.graph(), else_branch=in_float.graph())


def _horizontal_pass(graph: GraphBuilder, branch: Branch, value: str, sizes: str) -> None:
    """Resize the width alone and cut to 0..255; the resize that follows then finds only the height to change."""
    rows = graph.node("Shape", [value], "input_rows", start=0, end=3)
    width = graph.node("Slice", [sizes, graph.whole(3), graph.whole(4)], "resized_width")
    wide = graph.node("Concat", [rows, width], "horizontal_sizes", axis=0)
    branch.node("Resize", [*branch.last, "", "", wide], **_FILTERS["bicubic"])
    _cut(graph, branch)


def _cut(graph: GraphBuilder, branch: Branch) -> None:
    low, high = graph.constant(0, np.float32, "darkest"), graph.constant(255, np.float32, "brightest")
    branch.node("Clip", [*branch.last, low, high])


def _has_more_pixels_than(graph: GraphBuilder, value: str, limit: int) -> str:
    """Whether H times W of [N, c, H, W] is above the limit: a boolean scalar."""
    sides = graph.node("Shape", [value], "sides_to_resize", start=2, end=4)
    pixels = graph.node("ReduceProd", [sides], "pixels", keepdims=0)
    return graph.node("Greater", [pixels, graph.constant(limit, np.int64, "float_limit")], "is_large")
