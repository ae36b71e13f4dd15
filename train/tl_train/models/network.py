"""`Network`: what is trained, built with its starting weights and a new head; set to learn or frozen."""

import dataclasses
from typing import Literal

import torch
from torch import nn

from tl_infer.errors import first_line
from tl_train.config.choices import HeadKind, Mode, size_in_words
from tl_train.errors import ConfigError
from tl_train.models.architectures import Architecture
from tl_train.models.new_head import new_head, put_new_head
from tl_train.models.starting_weights import LoadedWeights, StartingWeights, WeightAndBias

# The two phases of mode `gradual`: the head alone, then all parameters.
Phase = Literal["head", "all"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network and where it comes from.

    Attributes:
        module: normalised images (N, 3, h, w) -> logits (N, C); the only part that training changes.
        architecture: what it is.
        loaded: what became of its starting weights.
        pretrained_head: the head that came with these, weight (K, D) and bias (K,); None where there was none to use.

    """

    module: nn.Module
    architecture: Architecture
    loaded: LoadedWeights
    pretrained_head: WeightAndBias | None = None

    @property
    def head(self) -> nn.Linear:
        """The new last layer."""
        return new_head(self.module, self.architecture)

    def prepare_for_training(self, mode: Mode, phase: Phase = "all") -> None:
        """Set which parameters learn, and which layers behave as in training.

        `head`, and the first phase of `gradual`, freeze all but the new layer: no gradients, and batch normalisation
        and dropout as in evaluation. In the second phase of `gradual` all parameters learn, but batch normalisation
        keeps the pretrained statistics: those of a few small batches would be noise.

        Args:
            mode: what learns.
            phase: of mode `gradual`; the other modes have only one.

        """
        all_learn = mode == "full" or (mode == "gradual" and phase == "all")
        self.module.requires_grad_(all_learn)
        self.module.train(all_learn)
        if mode == "gradual":
            keep_statistics(self.module)
        self.head.requires_grad_(True)
        self.head.train()

    def count_parameters(self) -> tuple[int, int]:
        """Parameters in all, and those that learn."""
        counts = [(parameter.numel(), parameter.requires_grad) for parameter in self.module.parameters()]
        return sum(n for n, _ in counts), sum(n for n, learns in counts if learns)

    def check_input(self, size: tuple[int, int]) -> None:
        """Try the network once on an input (h, w), before hours are spent on it.

        Raises:
            ConfigError: the network cannot take it.

        """
        name = self.architecture.name
        try:
            with torch.inference_mode():
                logits = self.module.eval()(torch.zeros(1, 3, *size))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ConfigError(f"size: '{name}' cannot take {size_in_words(size)} px: {first_line(error)}") from error
        if logits.ndim != 2:
            raise ConfigError(f"arch: '{name}' answers with shape {tuple(logits.shape)}, expected one row per image")


def build_network(architecture: Architecture, weights: str, classes: int, head: HeadKind = "replace") -> Network:
    """The network with its weights loaded and a new linear layer.

    Args:
        architecture: what to build.
        weights: `default`, `none`, or the path of a `.safetensors` file or torch state dict.
        classes: outputs of the new layer, whose values come from torch's random generator.
        head: `replace` puts the new layer in the place of the original head, which the weights need not have;
            `append` puts it behind the original head.

    Raises:
        WeightsError: no such file, unreadable, or a tensor missing, unknown, of the wrong shape or without numbers.

    """
    module = architecture.build()
    starting = StartingWeights.read(weights, architecture, module)
    loaded = starting.load_into(module, with_head=head == "append")
    pretrained_head = starting.head(new_head(module, architecture).in_features)
    put_new_head(module, architecture, classes, head)
    return Network(module.to(memory_format=memory_layout(module)), architecture, loaded, pretrained_head)


def keep_statistics(module: nn.Module) -> None:
    """Set batch normalisation to use the statistics that it has, and to leave them as they are."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # of any dimension; timm's derive from it
            layer.eval()


def memory_layout(module: nn.Module) -> torch.memory_format:
    """The layout to train in where none is tried: channels_last, in which B0 takes 0.6 of the time, if it is safe."""
    return torch.channels_last if is_safe_channels_last(module) else torch.contiguous_format


def is_safe_channels_last(module: nn.Module) -> bool:
    """Whether a network can be trained in channels_last on a CPU.

    torch's backward pass of a strided 1 x 1 convolution writes beyond its memory in that layout (seen with torch 2.15
    in RepVGG, MobileOne and FastViT).
    """
    return not any(
        isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.stride != (1, 1)
        for layer in module.modules()
    )
