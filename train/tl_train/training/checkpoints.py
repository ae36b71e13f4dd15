"""Checkpoints during training: enough to continue to bit-identical final weights after a crash.

Written after every epoch, whole and with a checksum; the last two are kept, so a damaged newest one costs one epoch
more, not the run. Everything random is drawn from (seed, epoch), so no generator's state needs to be stored.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tl_infer.errors import TlError, first_line
from tl_infer.model.records import read_value
from tl_infer.system.files import make_folder, read_bytes, write_bytes
from tl_infer.system.temporaries import remove_stale
from tl_train.errors import RunError
from tl_train.history import Epoch
from tl_train.progress import Progress
from tl_train.setup import Identity

FOLDER = "resume"
KEPT = 2
MAX_CHECKPOINT_BYTES = 50_000_000_000
# What a file that holds something else raises where it is read and taken apart.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, AssertionError)
_NAME = re.compile(r"epoch-(\d{6})-([0-9a-f]{64})\.pt")


def save_checkpoint(out: Path, epoch: int, identity: Identity, state: dict[str, Any]) -> None:
    """Write the state after `epoch` epochs, and drop all but the last two.

    Args:
        out: the run's folder.
        epoch: epochs done.
        identity: what the checkpoint belongs to.
        state: tensors, numbers, texts, lists and dicts of them.

    Raises:
        OutputPathError: the file cannot be written.

    """
    buffer = io.BytesIO()
    torch.save({"identity": json.dumps(identity.as_dict()), "state": state}, buffer)
    data = buffer.getvalue()
    folder = out / FOLDER
    make_folder(folder)
    remove_stale(folder)
    # The checksum is in the name: there is no second file that could be missing or out of step.
    write_bytes(folder / f"epoch-{epoch:06d}-{hashlib.sha256(data).hexdigest()}.pt", data)
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def load_checkpoint(out: Path, identity: Identity, progress: Progress) -> dict[str, Any] | None:
    """The newest undamaged state; None when there is none.

    Raises:
        RunError: it belongs to another configuration, other data or other versions; names the differences.

    """
    paths = _newest_first(out / FOLDER)
    for path in paths:
        try:
            content = _read(path)
            differences = identity.difference(json.loads(content["identity"]))
        except _DAMAGE as error:
            progress.note(f"{path}: damaged checkpoint ({first_line(error)}); the one before is used")
            continue
        if differences:
            raise RunError(
                f"{out}: cannot be resumed: {'; '.join(differences)}. Use what the run began with, or start again "
                "with --overwrite"
            )
        state: dict[str, Any] = content["state"]
        return state
    if paths:
        progress.note(f"{out / FOLDER}: no undamaged checkpoint; starting with the first epoch")
    return None


@contextlib.contextmanager
def restoring(out: Path) -> Iterator[None]:
    """A block that takes a state apart, which may hold anything.

    Raises:
        RunError: it did not fit.

    """
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, TlError):
            raise
        raise RunError(
            f"{out / FOLDER}: the checkpoint does not fit this run: {first_line(error)}; start again with --overwrite"
        ) from error


def check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Check what was loaded into an optimizer, which itself looks at the number of parameters only.

    Raises:
        ValueError: a value has another shape than its parameter.

    """
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.dim() and value.shape != parameter.shape:
                raise ValueError(f"optimizer: {name} of shape {tuple(value.shape)}, expected {tuple(parameter.shape)}")


def epochs_of(stored: dict[str, Any]) -> list[Epoch]:
    """The history in a state.

    Raises:
        KeyError, TypeError, ValueError: it has none, or other values.

    """
    rows = [Epoch(*row) for row in stored["history"]]
    for place, row in enumerate(rows, start=1):
        read_value(tuple[int, float, float, float | None, float | None, float], [*dataclasses.astuple(row)], "history",
                   ValueError)  # fmt: skip
        if row.epoch != place:
            raise ValueError(f"history: epoch {row.epoch} in place {place}")
    return rows


def _read(path: Path) -> dict[str, Any]:
    """The content of a file whose checksum is right."""
    data = read_bytes(path, MAX_CHECKPOINT_BYTES)
    match = _NAME.fullmatch(path.name)
    assert match is not None
    if hashlib.sha256(data).hexdigest() != match[2]:
        raise ValueError("its checksum is wrong")
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its parts do
        raise ValueError(f"not a file of torch: {first_line(error)}") from error
    if not (isinstance(content, dict) and isinstance(content.get("state"), dict)):
        raise ValueError("no state in it")
    return content


def discard_checkpoints(out: Path) -> None:
    """Remove the checkpoints of a finished run: its weights are saved."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    try:
        return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be listed: {first_line(error)}") from error
