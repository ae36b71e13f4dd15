"""Checkpoints during training: enough to continue to bit-identical final weights after a crash.

Written after every epoch, whole and with a checksum; the last two are kept, so a damaged newest one costs one epoch
more, not the run. Everything random is drawn from (seed, epoch), so no generator's state needs to be stored.
"""

import hashlib
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from tl_infer.system.files import write_bytes
from tl_train.errors import RunError
from tl_train.progress import Progress
from tl_train.setup import Identity

FOLDER = "resume"
KEPT = 2
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
    folder.mkdir(exist_ok=True)
    # The checksum is in the name: there is no second file that could be missing or out of step.
    write_bytes(folder / f"epoch-{epoch:06d}-{hashlib.sha256(data).hexdigest()}.pt", data)
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def load_checkpoint(out: Path, identity: Identity, progress: Progress) -> dict[str, Any] | None:
    """The newest undamaged state; None when there is none yet.

    Raises:
        RunError: it belongs to another configuration, other data or other versions; names the differences.

    """
    for path in _newest_first(out / FOLDER):
        data = path.read_bytes()
        match = _NAME.fullmatch(path.name)
        assert match is not None
        if hashlib.sha256(data).hexdigest() != match[2]:
            progress.note(f"{path}: damaged checkpoint (its checksum is wrong); the one before is used")
            continue
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if differences := identity.difference(json.loads(content["identity"])):
            raise RunError(
                f"{out}: cannot be resumed: {'; '.join(differences)}. Use what the run began with, or start again "
                "with --overwrite"
            )
        state: dict[str, Any] = content["state"]
        return state
    return None


def discard_checkpoints(out: Path) -> None:
    """Remove the checkpoints of a finished run: its weights are saved."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)
