"""The filters of the resize: their weights for one axis, computed by the graph from the image's side.

An output pixel sees only a few of the input's, so an axis is cut into bands of about `_BAND_PX` output pixels, and each
band has a matrix for the part of the image that its filters reach: over the whole side, most weights would be zero.
"""

import dataclasses
import math

import numpy as np
from onnx import TensorProto

from tl_infer.model.contract import Resample
from tl_train.preprocess.onnx_builder import GraphBuilder

# Larger bands: fewer nodes to open (56: 8 ms less); smaller: fewer zeros to multiply (56: twice the time at 12 MP).
_BAND_PX = 16
_MOST_BANDS = 16

# How far the filters reach, in input pixels, or in output pixels when shrinking.
# Source: Pillow's Resample.c, bilinear_filter and bicubic_filter.
_RADIUS: dict[Resample, int] = {"bilinear": 1, "bicubic": 2}

WIDENING = "widening"


@dataclasses.dataclass(frozen=True, slots=True)
class Axis:
    """Where the pixels of one axis of the input come from; the values are names of int64 [1] in the graph.

    Attributes:
        name: `rows` or `columns`.
        length: pixels of the input.
        extent: pixels of the image that are resized.
        first: the first of them.
        resized: how many they become.
        shown: which of those the input begins with; negative if the canvas comes first.

    """

    name: str
    length: int
    extent: str
    first: str
    resized: str
    shown: str

    @property
    def bands(self) -> int:
        """The number of bands; all are equally long, and the last may reach beyond the input."""
        return min(math.ceil(self.length / _BAND_PX), _MOST_BANDS)

    @property
    def band_px(self) -> int:
        """Output pixels of a band."""
        return math.ceil(self.length / self.bands)


@dataclasses.dataclass(frozen=True, slots=True)
class Filters:
    """The filters of one axis.

    Attributes:
        axis: which.
        starts: name of int64 [bands]: the first pixel of the image that a band's filters see.
        ends: likewise, the one behind the last.
        weights: for each band, the name of float32 [1, output, input] for rows, [1, input, output] for columns; the
            weights of an output pixel sum to one.
        overshoot: whether some weights are negative, so that results leave 0..255.

    """

    axis: Axis
    starts: str
    ends: str
    weights: list[str]
    overshoot: bool


def filters(graph: GraphBuilder, axis: Axis, resample: Resample) -> Filters:
    """Compute the filters of an axis in the graph."""
    name = axis.name
    centers, widening = _centers(graph, axis)
    reach = graph.node("Mul", [widening, graph.number(_RADIUS[resample])], f"{name}/reach")
    starts, size = _windows(graph, axis, centers, reach)
    distance, pixels = _distances(graph, name, (centers, starts, size), widening)
    raw = (_triangle if resample == "bilinear" else _cubic)(graph, distance, name)
    total = graph.node("ReduceSum", [raw, graph.whole(pixels)], f"{name}/total", keepdims=1)
    weights = graph.node("Div", [raw, total], f"{name}/weights")
    first = graph.node("Add", [starts, axis.first], f"{name}/first_pixels")
    end = graph.node("Add", [first, size], f"{name}/end_pixels")
    return Filters(axis, first, end, graph.split(weights, [1] * axis.bands, f"{name}/weights"), resample == "bicubic")


def _centers(graph: GraphBuilder, axis: Axis) -> tuple[str, str]:
    """Where the filters are centred, float32 [bands, band_px], and how much shrinking widens them, float32 [1].

    Pixels of the canvas take the nearest pixel of the image: the canvas hides them.
    """
    name = axis.name
    numbers = graph.constant(np.arange(axis.bands * axis.band_px).reshape(axis.bands, -1), np.int64, f"{name}/numbers")
    moved = graph.node("Add", [numbers, axis.shown], f"{name}/moved")
    last = graph.node("Sub", [axis.resized, graph.whole(1)], f"{name}/last")
    inside = graph.node("Min", [graph.node("Max", [moved, graph.whole(0)], f"{name}/from_0"), last], f"{name}/to_last")
    extent, resized, pixel = (
        graph.node("Cast", [value], f"{name}/float_{what}", to=TensorProto.FLOAT)
        for what, value in (("extent", axis.extent), ("resized", axis.resized), ("pixel", inside))
    )
    scale = graph.node("Div", [extent, resized], f"{name}/scale")
    middle = graph.node("Add", [pixel, graph.number(0.5)], f"{name}/middle")
    center = graph.node(
        "Sub", [graph.node("Mul", [middle, scale], f"{name}/scaled"), graph.number(0.5)], f"{name}/center"
    )
    return center, graph.node("Max", [scale, graph.number(1)], f"{name}/{WIDENING}")


def _windows(graph: GraphBuilder, axis: Axis, centers: str, reach: str) -> tuple[str, str]:
    """The first pixel that each band's filters see, int64 [bands], and how many pixels that is, int64 [1] for all."""
    name = axis.name
    ends = {"first": 0, "last": axis.band_px - 1}
    first, last = (
        graph.node("Gather", [centers, graph.scalar(place)], f"{name}/{end}_center", axis=1)
        for end, place in ends.items()
    )
    lowest = graph.node("Floor", [graph.node("Sub", [first, reach], f"{name}/lowest")], f"{name}/lowest_pixel")
    highest = graph.node("Ceil", [graph.node("Add", [last, reach], f"{name}/highest")], f"{name}/highest_pixel")
    low, high = (graph.node("Cast", [value], f"{value}_int", to=TensorProto.INT64) for value in (lowest, highest))
    low = graph.node("Max", [low, graph.whole(0)], f"{name}/low")
    high = graph.node("Min", [high, axis.extent], f"{name}/high")
    size = graph.node("ReduceMax", [graph.node("Sub", [high, low], f"{name}/seen")], f"{name}/size", keepdims=1)
    latest = graph.node("Sub", [axis.extent, size], f"{name}/latest")
    return graph.node("Min", [low, latest], f"{name}/starts"), size


def _distances(graph: GraphBuilder, name: str, seen: tuple[str, str, str], widening: str) -> tuple[str, int]:
    """How far each pixel is from each filter's centre, as a share of the widening.

    Args:
        graph: receives the nodes.
        name: of the axis.
        seen: the centres, the first pixel that each band sees, and how many it sees.
        widening: of the filters.

    Returns:
        The name of float32 [bands, output, input] for rows, [bands, input, output] for columns; the number of the
        input's axis.

    """
    centers, starts, size = seen
    # Relative to what the band sees, so that float32 is exact enough however long the side is.
    begin = graph.node("Cast", [graph.unsqueezed(starts, 1)], f"{name}/float_starts", to=TensorProto.FLOAT)
    centers = graph.node("Sub", [centers, begin], f"{name}/relative_centers")
    numbers = graph.node("Range", [graph.scalar(0), graph.squeezed(size), graph.scalar(1)], f"{name}/range")
    offsets = graph.node("Cast", [numbers], f"{name}/offsets", to=TensorProto.FLOAT)
    pixels = 2 if name == "rows" else 1
    offsets = offsets if name == "rows" else graph.unsqueezed(offsets, 1)
    away = graph.node("Sub", [offsets, graph.unsqueezed(centers, pixels)], f"{name}/away")
    return graph.node("Div", [graph.node("Abs", [away], f"{name}/pixels_away"), widening], f"{name}/distance"), pixels


def _triangle(graph: GraphBuilder, distance: str, name: str) -> str:
    """max(0, 1 - d)."""
    return graph.node("Relu", [graph.node("Sub", [graph.number(1), distance], f"{name}/below_1")], f"{name}/triangle")


def _cubic(graph: GraphBuilder, distance: str, name: str) -> str:
    """Keys' cubic with a = -0.5, twice as high: v^2 (v - 1) + u^2 (2 - 4 u), u = max(0, 1 - d), v = max(0, 2 - d).

    The same polynomials as usual, without a comparison. Their sum is divided out later.
    Source: Keys, Cubic convolution interpolation for digital image processing, 1981.
    """

    def node(op: str, left: str, right: str, what: str) -> str:
        return graph.node(op, [left, right], f"{name}/{what}")

    one, two, four = (graph.number(value) for value in (1, 2, 4))
    v = graph.node("Relu", [node("Sub", two, distance, "below_2")], f"{name}/v")
    lobe = node("Sub", v, one, "v_minus_1")
    u = graph.node("Relu", [lobe], f"{name}/u")
    outer = node("Mul", node("Mul", v, v, "v_squared"), lobe, "outer")
    slope = node("Sub", two, node("Mul", four, u, "4_u"), "slope")
    return node("Add", outer, node("Mul", node("Mul", u, u, "u_squared"), slope, "inner"), "cubic")
