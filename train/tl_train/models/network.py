"""The network that is trained: built, given its weights and a new head, set to learn or frozen."""

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tl_train.config import HeadKind, Mode
from tl_train.errors import ConfigError, WeightsError
from tl_train.models.architectures import ARCHITECTURES, Architecture, find_architecture
from tl_train.models.weight_files import LoadedWeights, Weights, load_weights, read_weights

__all__ = [
    "ARCHITECTURES",
    "AppendedHead",
    "Architecture",
    "LoadedWeights",
    "Phase",
    "Weights",
    "build_model",
    "count_parameters",
    "find_architecture",
    "head_kind_of",
    "new_head",
    "prepare_for_training",
    "read_weights",
    "set_head",
    "start_model",
    "trained_head",
]

# The two phases of mode `gradual`: the head alone, then all parameters.
Phase = Literal["head", "all"]


class AppendedHead(nn.Sequential):
    """The pretrained head, and behind it the new linear layer: features -> original classes -> new classes."""

    def __init__(self, pretrained: nn.Linear, added: nn.Linear) -> None:
        super().__init__(pretrained, added)


def build_model(architecture: Architecture, weights: str, classes: int, *, head: HeadKind = "replace") -> nn.Module:
    """The network of `start_model`, without the note on its weights."""
    return start_model(architecture, weights, classes, head=head)[0]


def start_model(
    architecture: Architecture, weights: str, classes: int, *, head: HeadKind = "replace"
) -> tuple[nn.Module, LoadedWeights]:
    """The network with its weights loaded and a new linear layer, and what became of the weights.

    Args:
        architecture: what to build.
        weights: `default`, `none`, or the path of a `.safetensors` file or torch state dict.
        classes: outputs of the new layer, whose values come from torch's random generator.
        head: `replace` puts the new layer in the place of the original head, which the weights need not have;
            `append` puts it behind the original head.

    Raises:
        WeightsError: no such file, unreadable, or a tensor missing, unknown or of the wrong shape.

    """
    model = architecture.build()
    loaded = load_weights(model, architecture, weights, with_head=head == "append")
    new_head(model, architecture, classes, head)
    return model.to(memory_format=torch.channels_last), loaded


def new_head(model: nn.Module, architecture: Architecture, classes: int, kind: HeadKind) -> None:
    """Give a network as `architecture.build` makes it a new, random last layer."""
    old = model.get_submodule(architecture.head)
    assert isinstance(old, nn.Linear)
    if kind == "replace":
        set_head(model, architecture, nn.Linear(old.in_features, classes))
    else:
        set_head(model, architecture, AppendedHead(old, nn.Linear(old.out_features, classes)))


def check_input(model: nn.Module, size: tuple[int, int], name: str) -> None:
    """Try the network once on an input of this size, before hours are spent on it.

    Raises:
        ConfigError: the network cannot take it.

    """
    try:
        with torch.inference_mode():
            logits = model.eval()(torch.zeros(1, 3, *size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigError(
            f"size: '{name}' cannot take {size[1]} x {size[0]} px: {str(error).splitlines()[0]}"
        ) from error
    if logits.ndim != 2:
        raise ConfigError(f"arch: '{name}' answers with shape {tuple(logits.shape)}, expected one row per picture")


def pretrained_head(
    architecture: Architecture, weights: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The head that came with the weights, which transfer learning replaces: weight (K, D) and bias (K,).

    Args:
        architecture: what the weights are for.
        weights: `default`, or the path of a file that holds its head too.

    Raises:
        WeightsError: no such weights, or no head in them.

    """
    if weights == "none":
        raise WeightsError("weights none: random weights know no classes; use --prior none or pretrained weights")
    tensors = architecture.pretrained() if weights == "default" else read_weights(Path(weights))
    names = (f"{architecture.head}.weight", f"{architecture.head}.bias")
    if missing := [name for name in names if name not in tensors]:
        raise WeightsError(f"weights {weights}: no {missing[0]}, so they know no classes; use --prior none")
    weight, bias = (tensors[name].float().cpu().numpy() for name in names)
    return weight, bias


def set_head(model: nn.Module, architecture: Architecture, head: nn.Module) -> None:
    """Put `head` in the place of the network's original last layer."""
    parent, _, name = architecture.head.rpartition(".")
    setattr(model.get_submodule(parent), name, head)


def trained_head(model: nn.Module, architecture: Architecture) -> nn.Linear:
    """The new last layer, whichever way it was added; its outputs are the model's logits."""
    head = model.get_submodule(architecture.head)
    if isinstance(head, AppendedHead):
        head = head[1]
    assert isinstance(head, nn.Linear)
    return head


def head_kind_of(tensors: Weights, architecture: Architecture) -> HeadKind:
    """How the head of a saved model was added, from the names of its tensors."""
    return "append" if f"{architecture.head}.1.weight" in tensors else "replace"


def prepare_for_training(model: nn.Module, architecture: Architecture, mode: Mode, phase: Phase = "all") -> None:
    """Set which parameters learn, and which layers behave as in training.

    `head`, and the first phase of `gradual`, freeze all but the new layer: no gradients, and batch normalisation and
    dropout as in evaluation. In the second phase of `gradual` all parameters learn, but batch normalisation keeps the
    pretrained statistics: those of a few small batches would be noise.

    Args:
        model: changed in place.
        architecture: its architecture.
        mode: what learns.
        phase: of mode `gradual`; the other modes have only one.

    """
    all_learn = mode == "full" or (mode == "gradual" and phase == "all")
    model.requires_grad_(all_learn)
    model.train(all_learn)
    if mode == "gradual":
        for layer in model.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # of any dimension; timm's derive from it
                layer.eval()
    head = trained_head(model, architecture)
    head.requires_grad_(True)
    head.train()


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Parameters in all, and those that learn."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(n for n, _ in counts), sum(n for n, learns in counts if learns)
