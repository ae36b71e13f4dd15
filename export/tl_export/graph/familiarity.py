"""The output `familiarity` in the graph, computed from the embedding and the logits by operators of any runtime."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tl_infer.model.contract import EMBEDDING, FAMILIARITY, LOGITS
from tl_train.familiarity.score import KNEE, LEAST_LENGTH, Familiarity

# All nodes, values and constants of this part have it, so that changes to the network leave them alone.
PREFIX = "familiarity/"


def add_familiarity(graph: onnx.GraphProto, familiarity: Familiarity) -> None:
    """Compute `familiarity` [N] from the values `embedding` [N, D] and `logits` [N, C] of the graph.

    Args:
        graph: modified in place.
        familiarity: what to compute.

    """
    part = _Part(graph)
    part.constant("axis 1", np.array([1], np.int64))
    close = _similarity(part, familiarity)
    energy = part.node("ReduceLogSumExp", [LOGITS, part.name("axis 1")], "energy", keepdims=1)
    far = part.shifted(close, familiarity.similarity.center - KNEE * familiarity.similarity.width, "similarity")
    far = part.scaled(far, familiarity.weight / familiarity.similarity.width, "similarity")
    far = part.node("Min", [far, part.constant("zero", np.float32(0))], "far term")
    energy = part.scaled(
        part.shifted(energy, familiarity.energy.center, "energy"), 1 / familiarity.energy.width, "energy"
    )
    score = part.node("Add", [energy, far], "score")
    _interpolate(part, score, familiarity.quantiles)


def round_bank(graph: onnx.GraphProto) -> None:
    """Store the bank in 8 bits a value, half of its size, each embedding in steps of its own; modified in place.

    The cosines are multiplied by the steps. Measured on the banks of clothing and hymenoptera (Lite0): off by at most
    0.0007, which moves a score by at most 0.009 deviations. Without the part nothing happens.
    """
    part = _Part(graph)
    stored = next((tensor for tensor in graph.initializer if tensor.name == part.name("bank")), None)
    if stored is None:
        return
    bank = numpy_helper.to_array(stored).astype(np.float32)
    # Pooled features behind a Relu have no sign, which is a bit more for their size.
    kind = np.dtype(np.int8 if (bank < 0).any() else np.uint8)
    steps = (np.abs(bank).max(axis=0) / np.iinfo(kind).max).astype(np.float32)
    levels = np.rint(bank / np.maximum(steps, np.finfo(np.float32).tiny)).astype(kind)
    stored.CopyFrom(numpy_helper.from_array(levels, stored.name))
    place, product = next(found for found in enumerate(graph.node) if part.name("cosines") in found[1].output)
    (cosines,) = product.output
    product.output[0] = part.name("cosines in steps")
    scaled = helper.make_node("Mul", [product.output[0], part.constant("bank steps", steps)], [cosines], name=cosines)
    product.name = product.output[0]
    graph.node.insert(place + 1, scaled)


def _similarity(part: "_Part", familiarity: Familiarity) -> str:
    """The cosine similarity [N, 1] to the neighbour that counts."""
    length = part.node("ReduceL2", [EMBEDDING, part.name("axis 1")], "length", keepdims=1)
    length = part.node("Max", [length, part.constant("least length", np.float32(LEAST_LENGTH))], "length above zero")
    unit = part.node("Div", [EMBEDDING, length], "unit")
    stored = part.constant("bank", np.ascontiguousarray(familiarity.bank.T))
    bank = part.node("Cast", [stored], "bank as float32", to=TensorProto.FLOAT)
    cosines = part.node("MatMul", [unit, bank], "cosines")
    count = part.constant("neighbours", np.array([familiarity.neighbours], np.int64))
    nearest, _ = part.nodes("TopK", [cosines, count], ["nearest", "nearest places"], axis=1, largest=1, sorted=1)
    last = part.constant("last neighbour", np.array([familiarity.neighbours - 1], np.int64))
    return part.node("Gather", [nearest, last], "similarity", axis=1)


def _interpolate(part: "_Part", score: str, quantiles: npt.NDArray[np.float32]) -> None:
    """The share of each interval between two quantiles that lies below the score [N, 1], and their mean [N]."""
    above = part.node("Sub", [score, part.constant("quantiles", quantiles[:-1])], "above quantiles")
    shares = part.node("Div", [above, part.constant("steps", np.diff(quantiles))], "in steps")
    shares = part.node("Clip", [shares, part.name("zero"), part.constant("one", np.float32(1))], "shares")
    part.graph.node.append(
        helper.make_node(
            "ReduceMean", [shares, part.name("axis 1")], [FAMILIARITY], name=f"{PREFIX}mean share", keepdims=0
        )
    )


class _Part:
    """Adds nodes and constants under the prefix."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph

    def name(self, value: str) -> str:
        return PREFIX + value

    def constant(self, name: str, values: npt.ArrayLike) -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values), self.name(name)))
        return self.name(name)

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        return self.nodes(operator, inputs, [output], **attributes)[0]

    def nodes(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> list[str]:
        names = [self.name(output) for output in outputs]
        self.graph.node.append(helper.make_node(operator, inputs, names, name=names[0], **attributes))
        return names

    def shifted(self, value: str, center: float, name: str) -> str:
        return self.node("Sub", [value, self.constant(f"{name} center", np.float32(center))], f"{name} shifted")

    def scaled(self, value: str, factor: float, name: str) -> str:
        return self.node("Mul", [value, self.constant(f"{name} factor", np.float32(factor))], f"{name} scaled")
