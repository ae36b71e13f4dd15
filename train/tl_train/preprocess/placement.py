"""How a picture of any shape fills the network's input: squash, letterbox, pad or crop, as nodes of the graph.

The geometry is exact, in int64. (H, W) is the picture, (h, w) the input (`PreprocessSpec.size`), `div` rounds down.

- `squash`: resized to (h, w).
- `letterbox`: resized to (h', w'), the largest size of the same shape that fits, at least one pixel a side:
  h' = clip((2 H w + W) div (2 W), 1, h) and w' = clip((2 W h + H) div (2 H), 1, w), that is, rounded half up.
- `pad`: as letterbox, but h' is at most H and w' at most W: what fits already is not resized.
- `letterbox` and `pad` then lay it on a canvas (h, w) of the fill colour, with before = (h - h') times 0, 1/2 (rounded
  down) or 1 rows above for anchors at the top, in the centre, at the bottom, and the rest below; columns likewise. So
  the odd row goes below and the odd column to the right.
- `crop`: with S = min(H, W) and r = `resize_px`, each side s becomes (2 s r + S) div (2 S): the shorter one r, the
  other rounded half up. Of that, the (h, w) from row (h' - h) div 2 and column (w' - w) div 2 on.
  Extremely long pictures lose their ends first, or 1 x 65,000 pixels would be resized to gigabytes: of a side s longer
  than L = max(16 S, 2^24 S div r^2), far more than the crop shows, the L + (s - L) mod 2 in the middle are kept.
"""

from typing import Literal

import numpy as np

from tl_infer.model.contract import HALVES_BEFORE, PreprocessSpec
from tl_train.preprocess.onnx_builder import GraphBuilder
from tl_train.preprocess.resize import resize

CROP_MAX_PIXELS = 1 << 24
CROP_MIN_ASPECT = 16


def fit_picture(graph: GraphBuilder, value: str, spec: PreprocessSpec, fill: tuple[int, ...]) -> str:
    """uint8 [N, c, H, W] -> float [N, c, h, w] with whole grey levels 0..255.

    Args:
        graph: receives the nodes.
        value: name of the picture's tensor.
        spec: size, fit, anchor, resample, resize_px.
        fill: colour of the canvas, one level for each of the c channels.

    """
    if spec.fit == "squash":
        return resize(graph, value, _size(graph, spec), spec.resample)
    if spec.fit == "crop":
        return _crop(graph, value, spec)
    fitted = _fitted_size(graph, _sides(graph, value, "sides"), spec)
    return _on_canvas(graph, resize(graph, value, fitted, spec.resample), fitted, spec, fill)


def _fitted_size(graph: GraphBuilder, sides: str, spec: PreprocessSpec) -> str:
    """Height and width that keep the shape and fit the canvas: int64 [2]."""
    canvas, across = _size(graph, spec), graph.constant(spec.size[::-1], np.int64, "width_and_height")
    height = graph.node("Slice", [sides, graph.whole(0), graph.whole(1)], "height")
    width = graph.node("Slice", [sides, graph.whole(1), graph.whole(2)], "width")
    other_sides = graph.node("Concat", [width, height], "other_sides", axis=0)
    fitted = _scaled(graph, sides, across, other_sides, "fitted")
    least = graph.node("Max", [fitted, graph.whole(1)], "fitted_least")
    limits = [canvas] if spec.fit == "letterbox" else [canvas, sides]
    return graph.node("Min", [least, *limits], "fitted_size")


def _on_canvas(graph: GraphBuilder, value: str, fitted: str, spec: PreprocessSpec, fill: tuple[int, ...]) -> str:
    """Float [N, c, h', w'] -> float [N, c, h, w], the rest in the fill colour."""
    halves = graph.constant(HALVES_BEFORE[spec.anchor], np.int64, "halves_before")
    free = graph.node("Sub", [_size(graph, spec), fitted], "free")
    twice_before = graph.node("Mul", [free, halves], "twice_before")
    before = graph.node("Div", [twice_before, graph.whole(2)], "before")
    after = graph.node("Sub", [free, before], "after")
    none = graph.constant([0, 0], np.int64, "no_padding")
    pads = graph.node("Concat", [none, before, none, after], "pads", axis=0)
    # Pad knows one value for all channels: relative to the fill colour that value is zero. Whole numbers stay exact.
    color = graph.constant(np.reshape(fill, (1, len(fill), 1, 1)), np.float32, "fill")
    relative = graph.node("Sub", [value, color], "relative_to_fill")
    padded = graph.node("Pad", [relative, pads], "padded")
    return graph.node("Add", [padded, color], "on_canvas")


def _crop(graph: GraphBuilder, value: str, spec: PreprocessSpec) -> str:
    resize_px = spec.resize_px
    assert resize_px is not None, "PreprocessSpec checks it"
    sides = _sides(graph, value, "sides")
    shorter = graph.node("ReduceMin", [sides], "shorter", keepdims=1)
    kept = _kept_sides(graph, sides, shorter, resize_px)
    resized_size = _scaled(graph, kept, graph.whole(resize_px), shorter, "resized_size")
    resized = resize(graph, _central(graph, value, sides, kept, "kept"), resized_size, spec.resample)
    return _central(graph, resized, resized_size, _size(graph, spec), "cropped")


def _kept_sides(graph: GraphBuilder, sides: str, shorter: str, resize_px: int) -> str:
    """The sides without the ends that an extremely long picture loses: int64 [2]."""
    by_aspect = graph.node("Mul", [shorter, graph.whole(CROP_MIN_ASPECT)], "longest_by_aspect")
    pixels = graph.node("Mul", [shorter, graph.whole(CROP_MAX_PIXELS)], "longest_pixels")
    by_pixels = graph.node("Div", [pixels, graph.whole(resize_px**2)], "longest_by_pixels")
    longest = graph.node("Max", [by_aspect, by_pixels], "longest")
    excess = graph.node("Sub", [sides, longest], "excess")
    odd = graph.node("Mod", [excess, graph.whole(2)], "excess_odd")  # of 0 or 1, so that both ends lose the same
    limit = graph.node("Add", [longest, odd], "longest_kept")
    return graph.node("Min", [sides, limit], "kept_sides")


def _scaled(graph: GraphBuilder, sides: str, to: str, of: str, name: Literal["fitted", "resized_size"]) -> str:
    """`sides` times `to` over `of`, rounded half up, in whole numbers: (2 * sides * to + of) div (2 * of)."""
    product = graph.node("Mul", [sides, to], f"{name}_product")
    twice = graph.node("Mul", [product, graph.whole(2)], f"{name}_twice")
    numerator = graph.node("Add", [twice, of], f"{name}_numerator")
    denominator = graph.node("Mul", [of, graph.whole(2)], f"{name}_denominator")
    return graph.node("Div", [numerator, denominator], name)


def _central(graph: GraphBuilder, value: str, sides: str, wanted: str, name: str) -> str:
    """The central [.., .., h, w] of [.., .., H, W]; an odd row or column more is lost below or to the right."""
    free = graph.node("Sub", [sides, wanted], f"{name}_free")
    start = graph.node("Div", [free, graph.whole(2)], f"{name}_start")
    end = graph.node("Add", [start, wanted], f"{name}_end")
    return graph.node("Slice", [value, start, end, graph.constant([2, 3], np.int64, "spatial_axes")], name)


def _sides(graph: GraphBuilder, value: str, name: str) -> str:
    return graph.node("Shape", [value], name, start=2, end=4)


def _size(graph: GraphBuilder, spec: PreprocessSpec) -> str:
    return graph.constant(spec.size, np.int64, "height_and_width")
