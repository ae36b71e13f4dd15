"""Running a network that does not change any more through onnxruntime: about twice as fast as PyTorch on a CPU.

The network is exported once and kept on disk, so that the next run pays no tracing.
"""

import contextlib
import copy
import dataclasses
import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch
from torch import nn

from tl_infer.errors import OutputPathError
from tl_infer.model.modelfile import MAX_MODEL_BYTES
from tl_infer.model.saturation import compute_exactly
from tl_infer.model.wire import read_contents
from tl_infer.system.files import read_bytes, write_bytes
from tl_infer.system.parallel import available_threads, ordered_map
from tl_train.cache.disk import cache_subfolder, key_of, make_room, touch
from tl_train.models.network import Network
from tl_train.models.trace import trace
from tl_train.preprocess.graph import TENSOR_NAME
from tl_train.progress import Progress

Item = TypeVar("Item")
Tensor = npt.NDArray[np.float32]

_FOLDER = "networks"
_LIMIT_BYTES = 2_000_000_000
_OUTPUT = "output"
_FORMAT = 1  # counts up when this module, or the tracing, exports something else from the same network
_LIBRARIES = ("tl-toolkit", "torch", "torchvision", "timm", "onnx", "onnxscript")
_NAME = re.compile(r"(?P<key>[0-9a-f]{64})-(?P<sha256>[0-9a-f]{64})\.onnx")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class FrozenNetwork:
    """A network, or the first part of one, whose weights do not change any more.

    Attributes:
        module: normalised images, float32 (N, 3, h, w) -> one float32 tensor, first axis N.
        name: what it is: the architecture and where it ends. Together with the weights it says what is computed.
        size: (h, w) of its input, pixels.

    """

    module: nn.Module
    name: str
    size: tuple[int, int]

    def key(self) -> str:
        """SHA-256 (hex) of all that its ONNX file depends on."""
        digest = hashlib.sha256()
        for name, tensor in self.module.state_dict().items():
            values = tensor.detach().cpu().contiguous().numpy()
            digest.update(f"{name} {values.dtype} {values.shape}".encode())
            digest.update(values.tobytes())
        libraries = {name: version(name) for name in _LIBRARIES}
        return key_of(name=self.name, size=self.size, weights=digest.hexdigest(), versions=libraries, format=_FORMAT)


class Backbone(nn.Module):
    """A copy of a network up to its head: normalised images (N, 3, h, w) -> embeddings (N, D)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.model = copy.deepcopy(network.module)
        parent, _, name = network.architecture.head.rpartition(".")
        self._head = nn.Identity()  # so that another head makes no other backbone
        setattr(self.model.get_submodule(parent), name, self._head)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """What the head would be given; what the network does behind its head does not matter."""
        kept: list[torch.Tensor] = []
        handle = self._head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        try:
            self.model(images)
        finally:
            handle.remove()
        return kept[0]


class OnnxNetwork:
    """A frozen network in onnxruntime; thread-safe.

    Attributes:
        key: of the frozen network that it was exported from; what it computes can be kept under it.
        shape: of the output for one image.

    """

    def __init__(self, data: bytes, key: str = "") -> None:
        """Open an ONNX file with input `tensor` (N, 3, h, w) and one output."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # a thread runs an image: on two cores 1.3 to 1.6 times as fast
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; the optimizer's remarks on its own doing are warnings
        compute_exactly(options, read_contents(data).operators)
        self.key = key
        self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        (output,) = self._session.get_outputs()
        self._output = output.name
        height, width = self._session.get_inputs()[0].shape[2:]
        self.shape: tuple[int, ...] = self(np.zeros((3, height, width), np.float32)).shape
        assert len(output.shape) == len(self.shape) + 1

    @property
    def values(self) -> int:
        """Numbers in the output for one image."""
        return math.prod(self.shape)

    def __call__(self, tensor: Tensor) -> Tensor:
        """Run one normalised image, float32 (3, h, w) -> float32 `shape`."""
        (result,) = self._session.run([self._output], {TENSOR_NAME: tensor[np.newaxis]})
        answer: Tensor = result[0]
        return answer

    def map(self, load: Callable[[Item], Sequence[Tensor]], items: Iterable[Item]) -> Iterator[list[Tensor]]:
        """The outputs for each item, in order, on all processors; `load` runs there, too.

        Args:
            load: the normalised images of an item: one, or several versions of it.
            items: read only as far ahead as the processors need.

        """
        return ordered_map(lambda item: [self(tensor) for tensor in load(item)], items, available_threads())


def open_onnx(frozen: FrozenNetwork, progress: Progress) -> OnnxNetwork:
    """The network in onnxruntime, from the cache folder or exported into it; on a full disk, exported only.

    Raises:
        TracingError: torch cannot express the network in ONNX.

    """
    key, data = frozen.key(), b""
    try:
        folder = cache_subfolder(_FOLDER)
        if data := _read(folder, key, progress):
            return OnnxNetwork(data, key)
        data = _export(frozen, progress)
        make_room(folder, len(data), _LIMIT_BYTES)
        write_bytes(folder / f"{key}-{hashlib.sha256(data).hexdigest()}.onnx", data)
    except OutputPathError as error:
        progress.note(f"{error}. Without the cache, the next run exports the network again")
    return OnnxNetwork(data or _export(frozen, progress), key)


def _export(frozen: FrozenNetwork, progress: Progress) -> bytes:
    progress.note(f"Exporting {frozen.name} to ONNX, to run it faster; kept for the next run")
    # A copy: tracing wants the network on the CPU and in another memory layout.
    exported: bytes = trace(copy.deepcopy(frozen.module), frozen.size, (_OUTPUT,)).SerializeToString()
    return exported


def _read(folder: Path, key: str, progress: Progress) -> bytes:
    """The content of the undamaged file of that key; empty where there is none."""
    for path in folder.glob(f"{key}-*.onnx"):
        match = _NAME.fullmatch(path.name)
        data = b""
        with contextlib.suppress(OSError):
            data = read_bytes(path, MAX_MODEL_BYTES) if match else b""
        if match and hashlib.sha256(data).hexdigest() == match["sha256"]:
            touch(path)
            return data
        progress.note(f"{path}: damaged (its checksum is wrong); it is made again")
        with contextlib.suppress(OSError):  # then it stays, and is named again
            path.unlink()
    return b""
