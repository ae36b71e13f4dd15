"""Files in the Hugging Face cache, held against the digest that the hub gave for them."""

import hashlib
import re
from pathlib import Path
from typing import Any

from tl_infer.system.files import open_regular, read_bytes
from tl_train.errors import WeightsError
from tl_train.models.weight_files import MAX_WEIGHTS_BYTES

_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT = re.compile(r"[0-9a-f]{40}")


def cached_on_hub(config: Any) -> Path | None:
    """The file of a timm model's weights in the Hugging Face cache, if it is there.

    Args:
        config: what timm notes of the model.

    """
    from huggingface_hub import try_to_load_from_cache

    if not config.hf_hub_id or config.custom_load:
        return None
    repository, _, revision = config.hf_hub_id.partition("@")
    for name in (config.hf_hub_filename or "model.safetensors", "pytorch_model.bin"):
        found = try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    return None


def has_digest(cached: Path) -> bool:
    """Whether the cache says what the content of a file must be: its name there is a link to the content's digest."""
    return _expected(cached) is not None


def check_digest(cached: Path) -> None:
    """Compare a file with what the hub said of it when it was downloaded; nothing where the cache does not say.

    The hub names content by its ETag: the SHA-256 of large files, git's own SHA-1 of small ones.
    Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache

    Raises:
        WeightsError: it is another file now.

    """
    expected = _expected(cached)
    if expected is None:
        return
    found = sha256_of(cached) if _SHA256.fullmatch(expected) else _git_sha1(cached)
    if found != expected:
        raise WeightsError(
            f"{cached}: the digest is {found}, but the hub gave {expected} when it was downloaded; delete "
            f"{cached.resolve()}, and it will be downloaded again"
        )


def _expected(cached: Path) -> str | None:
    content = cached.resolve()
    is_digest = _SHA256.fullmatch(content.name) or _GIT.fullmatch(content.name)
    return content.name if content.parent.name == "blobs" and is_digest else None


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file of weights."""
    with open_regular(path, MAX_WEIGHTS_BYTES) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_sha1(path: Path) -> str:
    data = read_bytes(path, MAX_WEIGHTS_BYTES)
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
