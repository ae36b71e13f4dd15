"""Weights in files: tensors by name, whatever a training script has put around them; nothing is executed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from tl_train.errors import WeightsError

Weights = Mapping[str, torch.Tensor]

# What training scripts put around a state dict, and what parallel training and compiling put before its names.
_WRAPPERS = ("state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")


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
        raise WeightsError(f"{path}: cannot be read as weights: {one_line(error)}") from error
    return state_dict_in(loaded, path)


def state_dict_in(loaded: Any, path: Path) -> Weights:
    """The state dict in what torch.load gave.

    Raises:
        WeightsError: there is none; names the file.

    """
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


def one_line(error: Exception) -> str:
    """The first line of an error of a library, 200 characters at most; its class where it has no text."""
    text = str(getattr(error, "reason", error)).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
