"""What the frozen stages of a network say of each image: read from disk, or computed again for each use.

Either way the numbers are the same, rounded to float16.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tl_train.cache.disk import key_of
from tl_train.data.samples import Sample
from tl_train.models.onnx_network import OnnxNetwork
from tl_train.preprocess.graph import Preprocessor
from tl_train.training.partial.activation_file import ActivationFile, Half, Shape, to_half

Floats32 = npt.NDArray[np.float32]
Draw = tuple[int, bool]  # an image's index, and whether it is mirrored

_FORMAT = 1  # counts up when the same images and weights shall give other numbers
_LIBRARIES = ("tl-toolkit", "onnxruntime", "numpy", "pillow")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenStages:
    """The frozen stages of a network, and the images that go through them.

    Attributes:
        trunk: the stages.
        preprocessor: makes their input.
        samples: the images; a `Draw` refers to them by index.
        digests: of each image's pixels, `DIGEST_BYTES` each.

    """

    trunk: OnnxNetwork
    preprocessor: Preprocessor
    samples: Sequence[Sample]
    digests: Sequence[bytes]

    def __post_init__(self) -> None:
        assert len(self.digests) == len(self.samples)

    def compute(self, draws: Iterator[Sequence[Draw]]) -> Iterator[list[Half]]:
        """The activations for each group of draws of one image, which is decoded once; on all processors.

        Raises:
            ImageError: an image cannot be read any more.
            TrainingError: a value is too large for float16.

        """
        for rows in self.trunk.map(self._tensors, draws):
            yield [to_half(row) for row in rows]

    def key(self, mirrored: bool) -> str:
        """SHA-256 (hex) of all that the activation of an image depends on, but for the image."""
        return key_of(
            preprocess=self.preprocessor.key,
            trunk=self.trunk.key,
            mirrored=mirrored,
            versions={name: version(name) for name in _LIBRARIES},
            format=_FORMAT,
        )

    def _tensors(self, draws: Sequence[Draw]) -> list[Floats32]:
        if not draws:
            return []
        pixels = self.samples[draws[0][0]].load()
        mirror_image = np.ascontiguousarray(pixels[:, ::-1])
        return [self.preprocessor(mirror_image if mirrored else pixels) for _, mirrored in draws]


class Activations(Protocol):
    """Activations of a set of images.

    Attributes:
        shape: of the activation of one image.

    """

    shape: Shape

    def batches(self, parts: Sequence[Sequence[Draw]]) -> Iterator[Floats32]:
        """The activations of each part: float32 (n, *shape)."""

    def close(self) -> None:
        """Let go of files."""


class StoredActivations:
    """Read from disk: a file for the images as they are, and one for the mirrored ones."""

    def __init__(self, files: Mapping[bool, ActivationFile]) -> None:
        self.shape = files[False].shape
        self._files = files

    def batches(self, parts: Sequence[Sequence[Draw]]) -> Iterator[Floats32]:
        """The activations of each part: float32 (n, *shape)."""
        for part in parts:
            result = np.empty((len(part), *self.shape), np.float32)
            for mirrored, file in self._files.items():
                places = [place for place, draw in enumerate(part) if draw[1] == mirrored]
                result[places] = file.rows([part[place][0] for place in places])
            yield result

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()


class StreamedActivations:
    """Computed again each time, ahead of the training."""

    def __init__(self, stages: FrozenStages) -> None:
        self.shape = stages.trunk.shape
        self._stages = stages

    def batches(self, parts: Sequence[Sequence[Draw]]) -> Iterator[Floats32]:
        """The activations of each part: float32 (n, *shape)."""
        rows = self._stages.compute([draw] for part in parts for draw in part)
        for part in parts:
            yield np.stack([next(rows)[0] for _ in part]).astype(np.float32)

    def close(self) -> None:
        """Nothing is held between two calls of `batches`."""
