"""How an image of any shape fills the network's input: squash, letterbox, pad or crop, as nodes of the graph.

The geometry is exact, in int64. (H, W) is the image, (h, w) the input (`PreprocessSpec.size`), `div` rounds down.

- `squash`: resized to (h, w).
- `letterbox`: resized to (h', w'), the largest size of the same shape that fits, at least one pixel a side:
  h' = clip((2 H w + W) div (2 W), 1, h) and w' = clip((2 W h + H) div (2 H), 1, w), that is, rounded half up.
- `pad`: as letterbox, but h' is at most H and w' at most W: what fits already is not resized.
- `letterbox` and `pad` then lay it on a canvas (h, w) of the fill colour, with before = (h - h') times 0, 1/2 (rounded
  down) or 1 rows above for anchors at the top, in the centre, at the bottom, and the rest below; columns likewise. So
  the odd row goes below and the odd column to the right.
- `crop`: with S = min(H, W) and r = `resize_px`, each side s becomes (2 s r + S) div (2 S): the shorter one r, the
  other rounded half up. Of that, the (h, w) from row (h' - h) div 2 and column (w' - w) div 2 on.
  Extremely long images lose their ends first, or 1 x 65,000 pixels would be resized to gigabytes: of a side s longer
  than L = S max(16, 2^24 div r^2), far more than the crop shows, the L + (s - L) mod 2 in the middle are kept.

Only what the input shows is ever computed: placement is a matter of which pixel of the resized image each pixel of the
input is, and all shapes from there on are those of the input. No whole number exceeds 32 bits for sides up to 65,535,
since some runtimes have no others.
"""

import dataclasses

import numpy as np

from tl_infer.model.contract import HALVES_BEFORE, INPUT_NAME, PreprocessSpec
from tl_train.preprocess.color import luma
from tl_train.preprocess.filters import Axis
from tl_train.preprocess.onnx_builder import GraphBuilder
from tl_train.preprocess.resize import resize

CROP_MAX_PIXELS = 1 << 24
CROP_MIN_ASPECT = 16


@dataclasses.dataclass(frozen=True, slots=True)
class _Geometry:
    """How the image becomes the input: names of int64 [2] in the graph, for height and width.

    Attributes:
        extent: pixels of the image that are resized.
        first: the first of them.
        resized: how many they become.
        shown: which of those the input begins with; negative if the canvas comes first.

    """

    extent: str
    first: str
    resized: str
    shown: str


def fit_image(graph: GraphBuilder, spec: PreprocessSpec) -> str:
    """The graph's input, uint8 [N, H, W, 3] -> float32 [N, c, h, w] with whole grey levels 0..255; c is 1 for grey."""
    sides = graph.node("Shape", [INPUT_NAME], "sides", start=1, end=3)
    geometry = {"squash": _squash, "crop": _crop}.get(spec.fit, _on_canvas)(graph, sides, spec)
    rows, columns = _axes(graph, geometry, spec)
    resized = resize(graph, INPUT_NAME, (rows, columns), spec.color, spec.resample)
    return resized if spec.fit in ("squash", "crop") else _filled(graph, resized, (rows, columns), spec)


def _squash(graph: GraphBuilder, sides: str, spec: PreprocessSpec) -> _Geometry:
    none = graph.constant([0, 0], np.int64, "none")
    return _Geometry(sides, none, _size(graph, spec), none)


def _on_canvas(graph: GraphBuilder, sides: str, spec: PreprocessSpec) -> _Geometry:
    """Letterbox and pad."""
    canvas, across = _size(graph, spec), graph.constant(spec.size[::-1], np.int64, "width_and_height")
    height, width = graph.split(sides, [1, 1], "side")
    other_sides = graph.node("Concat", [width, height], "other_sides", axis=0)
    fitted = _scaled(graph, sides, across, other_sides)
    least = graph.node("Max", [fitted, graph.whole(1)], "fitted_least")
    limits = [canvas] if spec.fit == "letterbox" else [canvas, sides]
    resized = graph.node("Min", [least, *limits], "fitted_size")
    halves = graph.constant(HALVES_BEFORE[spec.anchor], np.int64, "halves_before")
    free = graph.node("Sub", [canvas, resized], "free")
    before = graph.node("Div", [graph.node("Mul", [free, halves], "twice_before"), graph.whole(2)], "before")
    none = graph.constant([0, 0], np.int64, "none")
    return _Geometry(sides, none, resized, graph.node("Neg", [before], "shown"))


def _crop(graph: GraphBuilder, sides: str, spec: PreprocessSpec) -> _Geometry:
    assert spec.resize_px is not None, "PreprocessSpec checks it"
    shorter = graph.node("ReduceMin", [sides], "shorter", keepdims=1)
    kept = _kept_sides(graph, sides, shorter, spec.resize_px)
    resized = _scaled(graph, kept, graph.whole(spec.resize_px), shorter)
    return _Geometry(
        extent=kept,
        first=_half_the_rest(graph, sides, kept, "kept_first"),
        resized=resized,
        shown=_half_the_rest(graph, resized, _size(graph, spec), "shown"),
    )


def _kept_sides(graph: GraphBuilder, sides: str, shorter: str, resize_px: int) -> str:
    """The sides without the ends that an extremely long image loses: int64 [2]."""
    aspect = max(CROP_MIN_ASPECT, CROP_MAX_PIXELS // resize_px**2)
    longest = graph.node("Mul", [shorter, graph.whole(aspect)], "longest")
    excess = graph.node("Sub", [sides, longest], "excess")
    odd = graph.node("Mod", [excess, graph.whole(2)], "excess_odd")  # of 0 or 1, so that both ends lose the same
    limit = graph.node("Add", [longest, odd], "longest_kept")
    return graph.node("Min", [sides, limit], "kept_sides")


def _scaled(graph: GraphBuilder, sides: str, to: str, of: str) -> str:
    """`sides` times `to` over `of`, rounded half up, in whole numbers: (2 * sides * to + of) div (2 * of)."""
    product = graph.node("Mul", [sides, to], "scaled_product")
    twice = graph.node("Mul", [product, graph.whole(2)], "scaled_twice")
    numerator = graph.node("Add", [twice, of], "scaled_numerator")
    denominator = graph.node("Mul", [of, graph.whole(2)], "scaled_denominator")
    return graph.node("Div", [numerator, denominator], "scaled_sides")


def _half_the_rest(graph: GraphBuilder, sides: str, wanted: str, name: str) -> str:
    """Where the central `wanted` of `sides` begin; an odd row or column more is lost below or to the right."""
    return graph.node("Div", [graph.node("Sub", [sides, wanted], f"{name}_free"), graph.whole(2)], name)


def _axes(graph: GraphBuilder, geometry: _Geometry, spec: PreprocessSpec) -> tuple[Axis, Axis]:
    halves = [
        graph.split(getattr(geometry, field.name), [1, 1], f"geometry/{field.name}")
        for field in dataclasses.fields(geometry)
    ]
    heights, widths = zip(*halves, strict=True)
    return Axis("rows", spec.size[0], *heights), Axis("columns", spec.size[1], *widths)


def _filled(graph: GraphBuilder, resized: str, axes: tuple[Axis, Axis], spec: PreprocessSpec) -> str:
    """The resized image where the input shows it, the fill colour elsewhere."""
    rows, columns = (_is_image(graph, axis) for axis in axes)
    is_image = graph.node("And", [graph.unsqueezed(rows, 1), columns], "is_image")
    fill = (luma(spec.fill),) if spec.color == "gray" else spec.fill
    color = graph.constant(np.reshape(fill, (1, len(fill), 1, 1)), np.float32, "fill")
    return graph.node("Where", [is_image, resized, color], "on_canvas")


def _is_image(graph: GraphBuilder, axis: Axis) -> str:
    """Whether each pixel of the axis belongs to the image: bool [length]."""
    numbers = graph.constant(np.arange(axis.length), np.int64, f"{axis.name}/input_numbers")
    moved = graph.node("Add", [numbers, axis.shown], f"{axis.name}/input_moved")
    begun = graph.node("GreaterOrEqual", [moved, graph.whole(0)], f"{axis.name}/begun")
    not_ended = graph.node("Less", [moved, axis.resized], f"{axis.name}/not_ended")
    return graph.node("And", [begun, not_ended], f"{axis.name}/is_image")


def _size(graph: GraphBuilder, spec: PreprocessSpec) -> str:
    return graph.constant(spec.size, np.int64, "height_and_width")
