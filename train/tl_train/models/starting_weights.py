"""The weights that a network starts from: what `--weights` names, fitted to the network tensor by tensor."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tl_infer.errors import and_more
from tl_train.errors import WeightsError
from tl_train.models.architectures import Architecture
from tl_train.models.weight_files import Weights, read_weights
from tl_train.models.weight_names import without_prefix

WeightAndBias = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]  # weight (K, D) and bias (K,)

_NAMED = 3  # how many tensors a message names


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedWeights:
    """What became of a network's starting weights.

    Attributes:
        source: where they came from; `none` for random ones.
        tensors: how many were loaded.
        unused: names of those that were there but not loaded: the head that was replaced.
        missing_head: they came without a head.
        prefix: what stood before their names in the file.

    """

    source: str
    tensors: int = 0
    unused: tuple[str, ...] = ()
    missing_head: bool = False
    prefix: str = ""

    def __str__(self) -> str:
        if not self.tensors:
            return "none; all parameters started at random"
        parts = [f"{self.tensors} tensors" + (f" under '{self.prefix}'" if self.prefix else "")]
        if self.unused:
            parts.append(f"not used: {and_more(self.unused, _NAMED)}")
        if self.missing_head:
            parts.append("without a head")
        return "; ".join(parts)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class StartingWeights:
    """What `--weights` names, read once.

    Attributes:
        given: `default`, `none`, or the path of a file.
        architecture: what they are for.
        tensors: by name, the original head included where there is one; empty for `none`.
        prefix: what stood before these names in the file.

    """

    given: str
    architecture: Architecture
    tensors: Weights
    prefix: str = ""

    @staticmethod
    def read(given: str, architecture: Architecture, module: nn.Module) -> "StartingWeights":
        """Read a file, or fetch the published weights.

        Args:
            given: `default`, `none`, or the path of a file.
            architecture: what they are for.
            module: a network as `architecture.build` makes it, whose names they are to have.

        Raises:
            WeightsError: no such file, unreadable, or the download failed.

        """
        if given == "none":
            return StartingWeights(given, architecture, {})
        if given == "default":
            return StartingWeights(given, architecture, architecture.pretrained())
        in_head = f"{architecture.head}."
        names = [name for name in _required(module.state_dict()) if not name.startswith(in_head)]
        found = without_prefix(read_weights(Path(given)), names, given)
        return StartingWeights(given, architecture, found.tensors, found.prefix)

    def load_into(self, module: nn.Module, *, with_head: bool = False) -> LoadedWeights:
        """Load them into a network as `architecture.build` makes it.

        Args:
            module: changed in place.
            with_head: load the original head too, which must be there then.

        Raises:
            WeightsError: a tensor is missing, unknown, of the wrong shape, or holds no numbers that a network can have.

        """
        if self.given == "none":
            return LoadedWeights("none")
        prefix = f"{self.architecture.head}."
        in_head = tuple(name for name in self.tensors if name.startswith(prefix))
        if with_head and not in_head:
            raise WeightsError(
                f"weights {self.given}: come without {prefix}weight, the head that --head append keeps; "
                "use --head replace, or weights with their head"
            )
        unused = () if with_head else in_head
        offered = {name: tensor for name, tensor in self.tensors.items() if name not in unused}
        wanted = {name: tensor for name, tensor in module.state_dict().items()
                  if with_head or not name.startswith(prefix)}  # fmt: skip
        _check_fit(wanted, offered, f"weights {self.given}: do not fit {self.architecture.name}")
        _check_values([name for name, _ in module.named_parameters()], offered, f"weights {self.given}")
        module.load_state_dict(offered, strict=False)
        source = self.architecture.source if self.given == "default" else self.given
        return LoadedWeights(source, len(offered), unused, missing_head=not in_head, prefix=self.prefix)

    def head(self, width: int) -> WeightAndBias | None:
        """The head that came with them, which transfer learning replaces; None where none came that can be used.

        Args:
            width: D, features that a head of this network sees.

        """
        names = (f"{self.architecture.head}.weight", f"{self.architecture.head}.bias")
        if any(name not in self.tensors or _fault(self.tensors[name]) for name in names):
            return None
        weight, bias = (self.tensors[name].float().cpu().numpy() for name in names)
        return (weight, bias) if weight.shape[1:] == (width,) and bias.ndim == 1 else None


def _check_fit(wanted: Weights, offered: Weights, where: str) -> None:
    """Every tensor must be there with its shape."""
    required = _required(wanted)
    if missing := [name for name in required if name not in offered]:
        raise WeightsError(
            f"{where}: {len(missing)} of {len(required)} tensors are missing: {and_more(missing, _NAMED)}"
        )
    if unknown := [name for name in offered if name not in wanted]:
        raise WeightsError(
            f"{where}: {len(unknown)} of {len(offered)} tensors are unknown: {and_more(unknown, _NAMED)}"
        )
    misshapen = [
        f"{name} has shape {tuple(tensor.shape)}, expected {tuple(wanted[name].shape)}"
        for name, tensor in offered.items()
        if tensor.shape != wanted[name].shape
    ]
    if misshapen:
        raise WeightsError(f"{where}: {and_more(misshapen, _NAMED, '; ')}")


def _check_values(parameters: Iterable[str], offered: Weights, where: str) -> None:
    """Every parameter must be numbers to compute with; torch would copy some others, as a mask or 8-bit steps."""
    faults = [f"{name} {fault}" for name in parameters if name in offered and (fault := _fault(offered[name]))]
    if faults:
        raise WeightsError(
            f"{where}: cannot be used: {and_more(faults, _NAMED, '; ')}; expected finite floating-point values"
        )


def _fault(tensor: torch.Tensor) -> str:
    """Why a tensor cannot be a parameter; "" where it can."""
    if tensor.is_meta:
        return "has no values"
    if tensor.is_quantized or tensor.layout != torch.strided:
        return "is quantized" if tensor.is_quantized else "is sparse"
    if not tensor.is_floating_point():
        return f"is {str(tensor.dtype).removeprefix('torch.')}"
    return "" if tensor.float().isfinite().all() else "has NaN or infinity"


def _required(wanted: Weights) -> list[str]:
    """The names that a file must have; older ones lack the counter of batches, which is not used here."""
    return [name for name in wanted if not name.endswith("num_batches_tracked")]
