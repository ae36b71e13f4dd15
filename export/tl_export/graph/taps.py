"""The outputs beside the probabilities: embedding and heatmap, where the network has them."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from tl_export.options import OPTIONAL_OUTPUTS
from tl_infer.model.contract import EMBEDDING, HEATMAP, LOGITS
from tl_train.models.architectures import Architecture
from tl_train.models.new_head import AppendedHead

# Pooled features and the mean of the map agree to some 1e-7 of their size when they are the same thing. Another
# pooling, or a layer between pooling and head, changes them by about their size.
_SAME = 1e-4

_NO_MAP = "no feature map of more than one position goes through nothing but its mean into the linear head"


@dataclasses.dataclass(frozen=True, slots=True)
class Taps:
    """Where to find a network's embedding and last feature map.

    Attributes:
        head: dotted name of the head; its input is the embedding.
        feature_map: dotted name of the module whose output is the last feature map; None when there is no heatmap.
        channels_last: the map is (N, h, w, D) instead of (N, D, h, w).
        reason: why there is no heatmap; "" when there is one.

    """

    head: str
    feature_map: str | None = None
    channels_last: bool = False
    reason: str = ""


class TappedNetwork(nn.Module):
    """The network with its inner values as further outputs.

    A class activation map is the head applied at each position of the last feature map; because the mean over the
    positions and the head are both linear, its mean over the positions is the logits.
    Source: Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016.
    """

    def __init__(self, model: nn.Module, taps: Taps, outputs: Sequence[str]) -> None:
        """Prepare to return `outputs`, some of `logits`, `embedding`, `heatmap`, in that order."""
        super().__init__()
        self.model = model
        self._taps = taps
        self._outputs = tuple(outputs)
        head = model.get_submodule(taps.head)
        if HEATMAP in outputs and isinstance(head, AppendedHead):
            weight, bias = head_map(head)
            self.register_buffer("map_weight", weight)
            self.register_buffer("map_bias", bias)

    def forward(self, tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Normalised images (N, 3, h, w) -> one tensor per output, first axis N."""
        with tapped(self.model, self._taps) as values:
            results = {LOGITS: self.model(tensor)}
        results[EMBEDDING] = values[EMBEDDING]
        if HEATMAP in self._outputs:
            features = values["feature_map"]
            weight, bias = self._map()
            at_positions = torch.matmul(weight, features.flatten(2)) + bias[:, None]
            results[HEATMAP] = torch.unflatten(at_positions, 2, features.shape[2:])
        return tuple(results[name] for name in self._outputs)

    def _map(self) -> tuple[torch.Tensor, torch.Tensor]:
        head = self.model.get_submodule(self._taps.head)
        if isinstance(head, AppendedHead):
            return self.get_buffer("map_weight"), self.get_buffer("map_bias")
        return head_map(head)  # the parameters themselves, so that the file holds them once


@contextlib.contextmanager
def tapped(model: nn.Module, taps: Taps) -> Iterator[dict[str, torch.Tensor]]:
    """While open, a call of `model` leaves its `embedding` (N, D) and `feature_map` (N, D, h, w) in the mapping."""
    values: dict[str, torch.Tensor] = {}

    def keep_embedding(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        values[EMBEDDING] = inputs[0]

    def keep_map(_: nn.Module, __: object, output: torch.Tensor) -> None:
        values["feature_map"] = output.permute(0, 3, 1, 2) if taps.channels_last else output

    handles = [model.get_submodule(taps.head).register_forward_pre_hook(keep_embedding)]
    if taps.feature_map is not None:
        handles.append(model.get_submodule(taps.feature_map).register_forward_hook(keep_map))
    try:
        yield values
    finally:
        for handle in handles:
            handle.remove()


def head_map(head: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """The head as one linear map: weight (C, D) and bias (C,); of an appended head, both layers composed."""
    if isinstance(head, AppendedHead):
        (weight, bias), (added, added_bias) = head_map(head[0]), head_map(head[1])
        with torch.no_grad():
            composed = added.double() @ weight.double()
            return composed.float(), (added.double() @ bias.double() + added_bias.double()).float()
    assert isinstance(head, nn.Linear)
    return head.weight, torch.zeros(head.out_features) if head.bias is None else head.bias


def find_taps(model: nn.Module, architecture: Architecture, size: tuple[int, int]) -> Taps:
    """Where the embedding and the last feature map are, found by running the network once.

    A module's output is the last feature map when its mean over the positions is the embedding. That is what global
    average pooling in front of the head means, so nothing needs to be known of the architecture.

    Args:
        model: the network in evaluation mode; its head is `architecture.head`.
        architecture: its architecture.
        size: (h, w) of its input, pixels.

    """
    outputs: list[tuple[str, torch.Tensor]] = []
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: outputs.append((name, output)))
        for name, module in model.named_modules()
        if name
    ]
    try:
        with torch.inference_mode(), tapped(model, Taps(architecture.head)) as values:
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    embedding = values[EMBEDDING]
    for name, output in reversed(outputs):
        for channels_last in (False, True):
            if _pools_to(output, embedding, channels_last):
                return Taps(architecture.head, name, channels_last)
    return Taps(architecture.head, reason=_NO_MAP)


def chosen_outputs(wanted: Sequence[str], taps: Taps) -> tuple[str, ...]:
    """Those of `logits`, `embedding`, `heatmap` that are wanted and that the network has, in that order."""
    return tuple(name for name in OPTIONAL_OUTPUTS if name in wanted and (name != HEATMAP or taps.feature_map))


def _pools_to(output: object, embedding: torch.Tensor, channels_last: bool) -> bool:
    if not isinstance(output, torch.Tensor) or output.ndim != 4 or embedding.ndim != 2:
        return False
    places = (1, 2) if channels_last else (2, 3)
    if output.shape[3 if channels_last else 1] != embedding.shape[1] or all(output.shape[i] == 1 for i in places):
        return False
    pooled = output.mean(dim=places)
    return bool((pooled - embedding).abs().max() <= _SAME * embedding.abs().max())
