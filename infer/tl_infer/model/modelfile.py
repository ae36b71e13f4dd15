"""The bytes of a model file: read once, from a regular file, and checked against a SHA-256."""

import dataclasses
import functools
import os
import re
from pathlib import Path
from typing import BinaryIO

from tl_infer.errors import ModelFileError, first_line
from tl_infer.model.hub import PREFIX, HubFile
from tl_infer.model.wire import Contents, read_contents
from tl_infer.system.files import open_regular

MAX_MODEL_BYTES = 2_000_000_000  # protobuf's own limit for one message


@dataclasses.dataclass(frozen=True)  # no slots: what a large file's bytes come to is found out once, and kept
class ModelFile:
    """A model that has been read.

    Attributes:
        data: the whole file.
        where: what to call it in messages.
        path: absolute, if it was read from a path; else None.

    """

    data: bytes = dataclasses.field(repr=False)
    where: str
    path: Path | None = None

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the whole file, 64 hexadecimal digits."""
        import hashlib  # here, because it loads OpenSSL, and one image needs no digest

        return hashlib.sha256(self.data).hexdigest()

    @functools.cached_property
    def contents(self) -> Contents:
        """What is in the file.

        Raises:
            ModelFileError: no ONNX model.

        """
        try:
            return read_contents(self.data)
        except ValueError as error:
            raise ModelFileError(
                f"{self.where}: damaged or not an ONNX model, expected a file made by tl-export: {error}"
            ) from error


ModelSource = str | os.PathLike[str] | bytes | BinaryIO | ModelFile


def read_model(source: ModelSource, sha256: str | None = None) -> ModelFile:
    """Read a model.

    Args:
        source: path, a text that begins with `hf://` (see `HubFile`), bytes, or a binary file open for reading, which
            is read to its end and left open; or what this function has returned.
        sha256: what the SHA-256 of the file must be, 64 hexadecimal digits.

    Raises:
        ModelFileError: no such file, not a regular file, empty, too large, another SHA-256, with external data, or not
            to be had from the hub.
        TypeError: `source` is of none of the types above.
        ValueError: `sha256` is not a SHA-256.

    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"sha256: found {sha256[:80]!r}, expected 64 hexadecimal digits")
    pinned = sha256
    if isinstance(source, str) and source.startswith(PREFIX):
        on_hub = HubFile.parse(source)
        pinned, source = on_hub.sha256, on_hub.local_path()
    model = _read(source)
    _check_digest(model, pinned)
    _check_digest(model, sha256)
    _refuse_external_data(model)
    return model


def _check_digest(model: ModelFile, sha256: str | None) -> None:
    if sha256 is not None and model.sha256 != sha256.lower():
        raise ModelFileError(
            f"{model.where}: its SHA-256 is {model.sha256}, expected {sha256.lower()}; this is not the file you pinned"
        )


def _read(source: ModelSource) -> ModelFile:
    if isinstance(source, ModelFile):
        return source
    if isinstance(source, bytes):
        return ModelFile(source, f"model of {len(source)} bytes")
    if isinstance(source, str | os.PathLike):
        return _read_path(Path(source))
    if not hasattr(source, "read"):
        raise TypeError(f"expected a path, bytes or a binary file open for reading, found {type(source).__name__}")
    try:
        data = source.read(MAX_MODEL_BYTES + 1)
    except UnicodeDecodeError as error:
        raise TypeError("expected a binary file open for reading, found one open as text; open it with 'rb'") from error
    if not isinstance(data, bytes):
        raise TypeError(f"expected a binary file open for reading, its read() gave {type(data).__name__}")
    _check_size(len(data), "the open file")
    return ModelFile(data, f"model of {len(data)} bytes")


def _read_path(path: Path) -> ModelFile:
    try:
        with open_regular(path, MAX_MODEL_BYTES) as file:
            data = file.read()
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: no such file; expected a model made by tl-export") from error
    except OSError as error:
        if os.path.isdir(path):  # noqa: PTH112 - Path's fails where a name is too long
            raise ModelFileError(f"{path}: a folder; expected a file, NAME.onnx, made by tl-export") from error
        raise ModelFileError(f"{path}: cannot be read: {first_line(error)}") from error
    _check_size(len(data), str(path))
    return ModelFile(data, str(path), path.absolute())


def _check_size(size: int, where: str) -> None:
    if not 0 < size <= MAX_MODEL_BYTES:
        raise ModelFileError(f"{where}: {size} bytes, expected a model made by tl-export")


def _refuse_external_data(model: ModelFile) -> None:
    if model.contents.has_external_data:
        raise ModelFileError(
            f"{model.where}: keeps weights in other files (external data), expected a self-contained file; "
            "export it again with tl-export"
        )
