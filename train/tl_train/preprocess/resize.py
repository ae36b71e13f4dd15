"""The resize of the preprocessing graph, from operators that every runtime has: two matrix products per image.

ONNX has `Resize` with `antialias`, but several runtimes ignore that attribute, or refuse it. Here the filters' weights
are computed in the graph and applied with `MatMul`, band by band: first to the columns, then to the rows.

The result is never more than one grey level from Pillow's. Pillow rounds to whole levels after each pass, which moves
its result by less than one level; here all is float32, rounded once, at the end.

Bicubic overshoots at edges, and Pillow cuts what leaves 0..255 after each pass, so the order of the passes matters.
Here it is horizontal, cut, vertical, cut, as in Pillow before 13 and in torchvision. Pillow 13 does the vertical pass
of some tall images first: see docs/model-file.md for how far apart that is.
"""

import math

import numpy as np

from tl_infer.model.contract import Color, Resample
from tl_train.preprocess.color import channels
from tl_train.preprocess.filters import Axis, Filters, filters
from tl_train.preprocess.onnx_builder import GraphBuilder

# Between the passes an image has all its rows, 12 bytes for each output column: 175 MB for 65,000 rows. So it is done
# in two strips, which costs 0.03 ms; four would cost 0.1 ms and save another quarter.
_STRIPS = 2


def resize(graph: GraphBuilder, image: str, axes: tuple[Axis, Axis], color: Color, resample: Resample) -> str:
    """uint8 [N, H, W, 3] -> float32 [N, c, h, w], whole grey levels 0..255; what the canvas will hide is undefined.

    Args:
        graph: receives the nodes.
        image: name of the image's tensor.
        axes: rows and columns.
        color: c is 1 for `gray`, else 3.
        resample: the filter.

    """
    down, across = (filters(graph, axis, resample) for axis in axes)
    ones = [1] * down.axis.bands
    starts, ends = graph.split(down.starts, ones, "rows/start"), graph.split(down.ends, ones, "rows/end")
    parts = []
    for strip in _strips(len(ones)):
        top = starts[strip[0]]
        wide = _resize_columns(graph, image, (top, ends[strip[-1]]), across, color)
        for band in strip:
            start = graph.node("Sub", [starts[band], top], f"rows/{band}/start_in_strip")
            end = graph.node("Sub", [ends[band], top], f"rows/{band}/end_in_strip")
            part = graph.node("Slice", [wide, start, end, graph.whole(2)], f"rows/{band}/part")
            parts.append(graph.node("MatMul", [down.weights[band], part], f"rows/{band}/product"))
    return graph.node("Round", [_joined(graph, parts, down, 2, "rows")], "resized")


def _strips(bands: int) -> list[range]:
    """The bands of each strip."""
    size = math.ceil(bands / _STRIPS)
    return [range(first, min(first + size, bands)) for first in range(0, bands, size)]


def _resize_columns(graph: GraphBuilder, image: str, strip: tuple[str, str], across: Filters, color: Color) -> str:
    """uint8 [N, H, W, 3] -> float32 [N, c, end - start, w] of the rows from `strip`'s first value to its second."""
    prefix = f"columns/{strip[0].removeprefix('preprocess/')}"
    starts = _corners(graph, strip[0], across.starts, across.axis.bands, f"{prefix}/starts")
    ends = _corners(graph, strip[1], across.ends, across.axis.bands, f"{prefix}/ends")
    axes, parts = graph.constant([1, 2], np.int64, "rows_and_columns"), []
    for number, (start, end, weights) in enumerate(zip(starts, ends, across.weights, strict=True)):
        name = f"{prefix}/{number}"
        part = channels(graph, graph.node("Slice", [image, start, end, axes], f"{name}/part"), color, name)
        parts.append(graph.node("MatMul", [part, weights], f"{name}/product"))
    return _joined(graph, parts, across, 3, prefix)


def _corners(graph: GraphBuilder, row: str, columns: str, count: int, name: str) -> list[str]:
    """int64 [1] and int64 [bands] -> for each band int64 [2]: the row, and the band's column."""
    rows = graph.node("Expand", [row, graph.constant([count, 1], np.int64, "bands_of_columns")], f"{name}_rows")
    one_per_row = graph.node("Unsqueeze", [columns, graph.whole(1)], f"{name}_columns")
    pairs = graph.node("Concat", [rows, one_per_row], f"{name}_pairs", axis=1)
    return graph.split(graph.node("Reshape", [pairs, graph.whole(-1)], f"{name}_flat"), [2] * count, name)


def _joined(graph: GraphBuilder, parts: list[str], done: Filters, place: int, name: str) -> str:
    """The bands side by side along axis `place`, without what reaches beyond the input, cut to 0..255 if need be."""
    if done.overshoot:  # each by itself: for a tall image all together are large
        levels = [graph.number(0), graph.number(255)]
        parts = [graph.node("Clip", [part, *levels], f"{name}/{number}/cut") for number, part in enumerate(parts)]
    joined = graph.node("Concat", parts, f"{name}/joined", axis=place)
    axis = done.axis
    if axis.bands * axis.band_px == axis.length:
        return joined
    limits = [graph.whole(0), graph.whole(axis.length), graph.whole(place)]
    return graph.node("Slice", [joined, *limits], f"{name}/inside")
