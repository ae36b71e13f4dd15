"""Opening a model file: the only module of the runtime that names onnxruntime."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from tl_infer.contract import INPUT_NAME, LOGITS, PROBABILITIES, SPEC_KEY, ModelSpec
from tl_infer.errors import ModelFileError

MAX_MODEL_BYTES = 2_000_000_000  # protobuf's own limit for one message


class Session:
    """One opened model file: pixels in, arrays out.

    Attributes:
        spec: what the file says of itself, checked against what it really has.

    """

    def __init__(self, model: bytes, where: str, threads: int, *, optimized: bool = True) -> None:
        """Open a model from its bytes.

        Args:
            model: the whole file.
            where: what to call it in messages.
            threads: onnxruntime's intra-op threads; 1 when several Python threads share this session.
            optimized: let onnxruntime rewrite the graph; tl-export compares both.

        Raises:
            ModelFileError: damaged, not one of ours, or its spec does not fit its outputs.

        """
        self._where = where
        self._session = _open(model, where, threads, optimized)
        self.spec = self._read_spec()
        self._check_signature()

    def run(self, images: npt.NDArray[np.uint8], outputs: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """Run pictures of one size; thread-safe.

        Args:
            images: uint8 (N, H, W, 3), RGB.
            outputs: names out of the file's outputs.

        Returns:
            One float32 array per name, first axis N.

        Raises:
            ModelFileError: the graph failed, or answered with values that are no numbers.

        """
        try:
            results: list[npt.NDArray[np.float32]] = self._session.run(list(outputs), {INPUT_NAME: images})
        except Exception as error:
            raise ModelFileError(f"{self._where}: the model failed: {_first_line(error)}") from error
        for name, values in zip(outputs, results, strict=True):
            if not np.isfinite(values).all():
                raise ModelFileError(f"{self._where}: output '{name}' has values that are not finite numbers")
        return results

    def _read_spec(self) -> ModelSpec:
        try:
            metadata = self._session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise ModelFileError(
                f"{self._where}: the metadata are not valid UTF-8; export the model again with tl-export"
            ) from error
        if SPEC_KEY not in metadata:
            raise ModelFileError(
                f"{self._where}: an ONNX file without '{SPEC_KEY}', so not made by tl-export; "
                "only files that it wrote can be classified with"
            )
        try:
            return ModelSpec.from_json(metadata[SPEC_KEY])
        except ModelFileError as error:
            raise ModelFileError(f"{self._where}: {error}") from error

    def _check_signature(self) -> None:
        """Hold the file's inputs and outputs against the contract and the labels."""
        inputs = {node.name: (node.type, node.shape) for node in self._session.get_inputs()}
        kind, shape = inputs.get(INPUT_NAME, ("nothing", []))
        if len(inputs) != 1 or kind != "tensor(uint8)" or len(shape) != 4 or shape[3] != 3:
            raise ModelFileError(f"{self._where}: inputs {inputs}, expected one '{INPUT_NAME}' of uint8 [N, H, W, 3]")
        outputs = {node.name: (node.type, node.shape) for node in self._session.get_outputs()}
        for name in (PROBABILITIES, LOGITS):
            if name == LOGITS and name not in outputs:  # tl-export --outputs may have left it out
                continue
            kind, shape = outputs.get(name, ("nothing", []))
            if kind != "tensor(float)" or len(shape) != 2:
                raise ModelFileError(f"{self._where}: output '{name}' is {kind} {shape}, expected float32 [N, C]")
            if shape[1] != len(self.spec.labels):
                raise ModelFileError(
                    f"{self._where}: {len(self.spec.labels)} labels but output '{name}' has {shape[1]} columns; "
                    "export the model again with tl-export"
                )


def read_model(model: str | os.PathLike[str] | bytes) -> tuple[bytes, str]:
    """A model file's bytes, read once, and what to call it in messages.

    Raises:
        ModelFileError: not there, not a regular file, empty or too large.

    """
    if isinstance(model, bytes):
        return model, f"model of {len(model)} bytes"
    path = Path(model)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{path}: is not a regular file; expected a model made by tl-export")
        if not 0 < status.st_size <= MAX_MODEL_BYTES:
            raise ModelFileError(f"{path}: {status.st_size} bytes, expected a model made by tl-export")
        return path.read_bytes(), str(path)
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: no such file; expected a model made by tl-export") from error
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error


def available_threads() -> int:
    """Processors that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _open(model: bytes, where: str, threads: int, optimized: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads sleep instead of burning a core of the program that embeds us.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what fails is raised; a library has no business on its host's stderr
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelFileError(
            f"{where}: damaged or not an ONNX model, expected a file made by tl-export: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
