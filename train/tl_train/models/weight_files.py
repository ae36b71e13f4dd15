"""Weights in files: tensors by name, whatever a training script has put around them; nothing is executed."""

import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from tl_infer.errors import first_line
from tl_infer.system.files import open_regular
from tl_train.errors import WeightsError

Weights = Mapping[str, torch.Tensor]

MAX_WEIGHTS_BYTES = 50_000_000_000
_MOST_NESTED = 8
# Of torch's reader of archives, of its seeking in one, and of safetensors.
_CUT_SHORT = r"failed finding central directory|^\[Errno 22\] Invalid argument$|incomplete metadata"
# Of the same readers, of other archives and of torch checkpoints that are called .safetensors.
_OF_OTHER_KIND = r"archive is not in a subdirectory|deserializing header: header too"


def read_weights(path: Path) -> Weights:
    """Tensors by name from a `.safetensors` file or a torch checkpoint; nothing in the file is executed.

    What lies deeper in a checkpoint gets the keys around it before its name: `state_dict.conv.weight`. Whatever is no
    tensor (an epoch, a loss) is left out.

    Raises:
        WeightsError: no such file, or not readable as weights.

    """
    try:
        loaded = _load(path)
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path}: no such file; expected weights (.safetensors, .pth), 'default' or 'none'"
        ) from error
    except Exception as error:
        raise WeightsError(f"{path}: {_in_words(error, path)}") from error
    return tensors_in(loaded, path)


def tensors_in(loaded: Any, path: Path) -> Weights:
    """The tensors by name in what torch.load gave, as `read_weights` names them.

    Raises:
        WeightsError: there are none; names the file.

    """
    tensors = dict(_named(loaded, "", _MOST_NESTED))
    if not tensors:
        raise WeightsError(f"{path}: holds no state dict; expected tensors by name, as torch.save(model.state_dict())")
    return tensors


def _named(value: Any, prefix: str, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, dict) and depth:
        for name, item in value.items():
            if not isinstance(name, str):
                continue
            if isinstance(item, torch.Tensor):
                yield prefix + name, item.detach()  # a saved parameter has a gradient, which numpy() refuses
            else:
                yield from _named(item, f"{prefix}{name}.", depth - 1)


def _load(path: Path) -> Any:
    with open_regular(path, MAX_WEIGHTS_BYTES) as file:
        start = file.read(9)
        file.seek(0)
        if path.suffix == ".safetensors" or start[8:] == b"{":  # behind the length of its header
            return safetensors.torch.load_file(path)
        return torch.load(file, map_location="cpu", weights_only=True)


def _in_words(error: Exception, path: Path) -> str:
    """Why a file was not read, and the way out; what torch itself says is long, coloured and advises to execute it."""
    script = repr(str(path))
    target = repr(f"{path.stem}-state_dict.pth")
    if found := re.search(r"GLOBAL (\S+) was not an allowed global|Unsupported class (\S+)", str(error)):
        return (
            f"holds more than tensors ({found[1] or found[2]}), and restoring that could execute code. If you trust "
            "where it is from, save its state dict alone, once: "
            f'python -c "import torch; c = torch.load({script}, map_location={"cpu"!r}, weights_only=False); '
            f"c = c[{'state_dict'!r}] if isinstance(c, dict) else c; "
            f'torch.save(c if isinstance(c, dict) else c.state_dict(), {target})" '
            "(with the key that it has, if not 'state_dict'), and give that file"
        )
    if found := re.search(r"GLOBAL (\S+) whose module \S+ is blocked", str(error)):
        return f"would run {found[1]} when loaded, which no weights need; do not use it"
    if "TorchScript" in str(error):
        return (
            "is a TorchScript program; save its state dict alone, once: "
            f'python -c "import torch; torch.save(torch.jit.load({script}).state_dict(), {target})", and give that file'
        )
    if re.search(_CUT_SHORT, str(error)):
        return "is cut short or damaged; copy or download it again"
    no_pickle = isinstance(error, pickle.UnpicklingError | EOFError | LookupError | ValueError)
    if no_pickle or re.search(_OF_OTHER_KIND, str(error)):
        return "cannot be read as weights: neither a torch checkpoint nor a .safetensors file"
    return f"cannot be read as weights: {first_line(error)}"
