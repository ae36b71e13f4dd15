"""Cutting a network between two of its stages: a trunk that stays as it is, and the rest, which is trained.

The network is traced symbolically. Wherever a single tensor connects what lies before with what lies behind, it can be
cut; the places where a stage or a block ends are the ones worth naming.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from timm.layers import get_notrace_functions, get_notrace_modules
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode

from tl_infer.errors import first_line
from tl_train.errors import ConfigError

# What is left to train, as a share of the network's multiplications. Measured on clothing photos with Lite0: one stage
# more frozen costs four points of accuracy, two stages more trained gain nothing and take twice as long.
TRAINED_SHARE = 1 / 3

# Ends of whole stages are preferred to ends of blocks while they are no farther than this factor from the share.
_NEAR = 1.25

# The same operations in the same order; only the memory layout can differ.
_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """A place where a network can be cut.

    Attributes:
        name: dotted name of the outermost stage or block that ends there.
        also: the stages and blocks inside it that end there too.
        share: of the network's multiplications, what lies behind the cut, 0..1.
        shape: of the tensor that crosses it, for one image.

    """

    name: str
    also: tuple[str, ...]
    share: float
    shape: tuple[int, ...]

    @property
    def values(self) -> int:
        """Numbers per image in the tensor that crosses the cut."""
        return math.prod(self.shape)


class Stages:
    """A network as a row of stages.

    Attributes:
        cuts: the places where it can be cut, in the order in which an image passes them.
        multiplications: multiply-adds of the whole network for one image.

    """

    def __init__(self, model: nn.Module, size: tuple[int, int], name: str) -> None:
        """Find where a network can be cut.

        Args:
            model: takes float32 (N, 3, h, w), answers with one tensor; its parameters are shared, not copied.
            size: (h, w) of its input, pixels.
            name: of its architecture, for messages.

        Raises:
            ConfigError: it cannot be traced, or has no stages in a row.

        """
        self._model, self._size, self._name = model, size, name
        with _evaluating(model):
            try:
                self._graph = _trace(model)
                meter = _Meter(fx.GraphModule(model, self._graph))
                meter.measure(torch.zeros(1, 3, *size))
            except Exception as error:
                raise self._no_cut(first_line(error)) from error
        self.multiplications = meter.total
        found = _cuts(self._graph, model, meter)
        if not found:
            raise self._no_cut("it has no stages in a row")
        self._nodes = {cut.name: node for node, cut in found}
        self.cuts = tuple(cut for _, cut in found)

    def choose(self, share: float = TRAINED_SHARE) -> Cut:
        """The cut that leaves about `share` of the multiplications behind it, at the end of a whole stage if it can."""

        def distance(cut: Cut) -> float:
            return abs(math.log(max(cut.share, 1e-9) / share))

        for depth in sorted({cut.name.count(".") for cut in self.cuts}):
            nearest = min((cut for cut in self.cuts if cut.name.count(".") <= depth), key=distance)
            if distance(nearest) <= math.log(_NEAR):
                return nearest
        return min(self.cuts, key=distance)

    def named(self, name: str) -> Cut:
        """The cut behind the stage or block of that name.

        Raises:
            ConfigError: none ends there; lists those that there are.

        """
        for cut in self.cuts:
            if name == cut.name or name in cut.also:
                return cut
        known = ", ".join(cut.name for cut in self.cuts)
        raise ConfigError(f"freeze_until: found '{name}', expected a stage of {self._name}: {known}")

    def split(self, cut: Cut) -> tuple[nn.Module, nn.Module]:
        """The trunk, images (N, 3, h, w) -> (N, *cut.shape), and the rest, from there to the answer.

        Both share the model's parameters, under the model's own names, so training the rest trains the model. Layers
        in the rest follow `train()` and `eval()` as ever; dropout that is a function call instead of a layer is off.

        Raises:
            ConfigError: one after the other does not give what the model gives, or a parameter is used by both.

        """
        trunk = self._module(_before(self._graph, self._nodes[cut.name]), "Trunk")
        rest = self._module(_behind(self._graph, self._nodes[cut.name]), "Rest")
        if {id(parameter) for parameter in trunk.parameters()} & {id(parameter) for parameter in rest.parameters()}:
            raise self._no_cut(f"parameters are used on both sides of {cut.name}")
        images = torch.randn(2, 3, *self._size, generator=torch.Generator().manual_seed(0))
        with _evaluating(self._model), torch.inference_mode():
            expected, found = self._model(images), rest(trunk(images))
            if not (expected - found).abs().max() <= _TOLERANCE * expected.abs().max():
                raise self._no_cut(f"the stages one after the other compute something else (cut after {cut.name})")
        return trunk, rest

    def _module(self, graph: fx.Graph, name: str) -> fx.GraphModule:
        """What a part of the graph computes, with those modules and parameters of the model that it uses."""
        fx.GraphModule(self._model, graph).graph.eliminate_dead_code()  # which needs to know the modules
        return fx.GraphModule(self._model, graph, name)

    def _no_cut(self, reason: str) -> ConfigError:
        return ConfigError(f"mode partial: {self._name} cannot be cut between stages: {reason}; use mode gradual")


class _Tracer(fx.Tracer):
    """Keeps whole what cannot be traced, and what behaves differently in training."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))  # type: ignore[no-untyped-call]
        self._whole = tuple(get_notrace_modules())  # type: ignore[no-untyped-call]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, self._whole) or type(m).__module__.startswith("torchvision.ops")
        return whole or type(m).__name__ == "DropPath" or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: dict[str, Any] | tuple[Any, ...] | None = None
    ) -> tuple[Any, list[Any]]:
        """Only the module itself and its images; other parameters (masks, flags) keep their defaults."""
        function, arguments = super().create_args_for_root(root_fn, is_module, concrete_args)
        return function, arguments[:2]


def _trace(model: nn.Module) -> fx.Graph:
    graph = _Tracer().trace(model)
    for node in [node for node in graph.nodes if node.op == "placeholder"][1:]:
        graph.erase_node(node)
    return graph


class _Meter(fx.Interpreter):
    """Runs a graph once and notes the shape of each value and the multiply-adds up to it."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self._counter = FlopCounterMode(display=False)
        self.until: dict[fx.Node, int] = {}
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def measure(self, images: torch.Tensor) -> None:
        with self._counter:
            self.run(images)

    @property
    def total(self) -> int:
        return max(self.until.values())

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self.until[n] = self._counter.get_total_flops() // 2  # an addition and a multiplication count as two
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.shapes[n] = tuple(result.shape)
        return result


def _cuts(graph: fx.Graph, model: nn.Module, meter: _Meter) -> list[tuple[fx.Node, Cut]]:
    """The named cuts, each with the value that crosses it."""
    crossings = {node: _ending(node, following, model) for node, following in _crossings(graph) if node in meter.shapes}
    atoms = _uncut_classes(model, {name for names in crossings.values() for name in names})
    found = []
    for node, names in crossings.items():
        whole = [name for name in names if not any(type(outer) in atoms for outer in _around(model, name))]
        share = 1 - meter.until[node] / meter.total
        if whole and share > 0:
            found.append((node, Cut(whole[0], tuple(whole[1:]), share, meter.shapes[node][1:])))
    return found


def _crossings(graph: fx.Graph) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Values that are all that connects what lies before with what lies behind, each with what is computed next."""
    nodes = _depending(graph)
    place = {node: index for index, node in enumerate(nodes)}
    last_use = {node: max((place.get(user, 0) for user in node.users), default=0) for node in nodes}
    alive: set[fx.Node] = set()
    for index, node in enumerate(nodes[:-1]):
        alive = {other for other in (*alive, node) if last_use[other] > index}
        if alive == {node} and node.op != "placeholder":
            yield node, nodes[index + 1]


def _depending(graph: fx.Graph) -> list[fx.Node]:
    """The nodes whose value depends on the image, in the order of computation."""
    found: dict[fx.Node, None] = {}
    for node in graph.nodes:
        if node.op == "placeholder" or any(source in found for source in node.all_input_nodes):
            found[node] = None
    return list(found)


def _ending(node: fx.Node, following: fx.Node, model: nn.Module) -> list[str]:
    """Modules of two or more layers with weights that end with `node`, outermost first."""
    here, there = (other.meta.get("nn_module_stack", {}) for other in (node, following))
    names = [name for name in here if name and "@" not in name and name not in there]  # "@": used more than once
    return [name for name in names if sum(map(_has_weights, model.get_submodule(name).modules())) > 1]


def _has_weights(module: nn.Module) -> bool:
    return any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))


def _uncut_classes(model: nn.Module, ends: set[str]) -> set[type[nn.Module]]:
    """Classes of which at least one module has nothing that ends inside, as residual blocks have; these stay whole."""
    return {
        type(model.get_submodule(name))
        for name in ends
        if not any(other.startswith(f"{name}.") and other != name for other in ends)
    } - {nn.Sequential, nn.ModuleList}


def _around(model: nn.Module, name: str) -> Iterator[nn.Module]:
    """The modules that hold the one of that name, but for the model itself."""
    parts = name.split(".")
    return (model.get_submodule(".".join(parts[:count])) for count in range(1, len(parts)))


def _before(graph: fx.Graph, cut: fx.Node) -> fx.Graph:
    """The part of the graph that computes `cut`."""
    copy, copied = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in graph.nodes:
        copied[node] = copy.node_copy(node, lambda source: copied[source])
        if node is cut:
            break
    copy.output(copied[cut])
    return copy


def _behind(graph: fx.Graph, cut: fx.Node) -> fx.Graph:
    """The part of the graph that goes on from `cut`."""
    depending = _depending(graph)
    dropped = set(depending[: depending.index(cut) + 1])
    copy = fx.Graph()
    copied = {cut: copy.placeholder("activation")}
    for node in graph.nodes:
        if node not in dropped:
            copied[node] = copy.node_copy(node, lambda source: copied[source])
    return copy


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards each of its modules is in its own mode again."""
    modes: Sequence[tuple[nn.Module, bool]] = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
