"""The last layer that transfer learning gives a network: in the place of the pretrained one, or behind it."""

import torch
from torch import nn

from tl_train.config.choices import HeadKind
from tl_train.models.architectures import Architecture
from tl_train.models.weight_files import Weights


class AppendedHead(nn.Sequential):
    """The pretrained head, and behind it the new linear layer: features -> original classes -> new classes."""

    def __init__(self, pretrained: nn.Linear, added: nn.Linear) -> None:
        super().__init__(pretrained, added)


def put_new_head(module: nn.Module, architecture: Architecture, classes: int, kind: HeadKind) -> None:
    """Give a network as `architecture.build` makes it a new, random last layer."""
    old = module.get_submodule(architecture.head)
    assert isinstance(old, nn.Linear)
    added = nn.Linear(old.in_features if kind == "replace" else old.out_features, classes)
    parent, _, name = architecture.head.rpartition(".")
    setattr(module.get_submodule(parent), name, added if kind == "replace" else AppendedHead(old, added))


def new_head(module: nn.Module, architecture: Architecture) -> nn.Linear:
    """The new last layer, whichever way it was put; its outputs are the network's logits."""
    head = module.get_submodule(architecture.head)
    if isinstance(head, AppendedHead):
        head = head[1]
    assert isinstance(head, nn.Linear)
    return head


def add_rows(module: nn.Module, architecture: Architecture, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Give the new last layer further outputs behind its own: weight (n, D) and bias (n,)."""
    old = new_head(module, architecture)
    wider = nn.Linear(old.in_features, old.out_features + len(bias)).to(old.weight)
    set_linear(wider, torch.cat([old.weight, weight.to(old.weight)]), torch.cat([old.bias, bias.to(old.bias)]))
    parent, _, name = architecture.head.rpartition(".")
    head = module.get_submodule(architecture.head)
    if isinstance(head, AppendedHead):
        head[1] = wider
    else:
        setattr(module.get_submodule(parent), name, wider)


def head_kind_of(tensors: Weights, architecture: Architecture) -> HeadKind:
    """How the head of a saved network was put, from the names of its tensors."""
    return "append" if f"{architecture.head}.1.weight" in tensors else "replace"


def set_linear(head: nn.Linear, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Copy weight (C, D) and bias (C,) into a linear layer."""
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
