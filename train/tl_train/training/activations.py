"""What the frozen stages say of each image: computed once and kept on disk as float16, or computed again for each use.

Either way the numbers are the same, rounded to float16.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tl_infer.system.files import replacing
from tl_train.data.samples import Sample
from tl_train.disk_cache import cache_subfolder, key_of, make_room, megabytes, touch
from tl_train.models.onnx_network import OnnxNetwork
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress
from tl_train.training.activation_file import (
    ActivationFile,
    ActivationWriter,
    DamagedFileError,
    Shape,
    file_bytes,
    to_half,
)

Floats = npt.NDArray[np.float32]
Draw = tuple[int, bool]  # an image's index, and whether it is mirrored

FOLDER = "activations"
LIMIT_BYTES = 20_000_000_000
_FORMAT = 1  # counts up when the same images and weights shall give other numbers
_LIBRARIES = ("tl-toolkit", "onnxruntime", "numpy", "pillow")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenStages:
    """The frozen stages of a network, and the images that go through them.

    Attributes:
        trunk: the stages.
        preprocessor: makes their input.
        samples: the images; a `Draw` refers to them by index.
        content: SHA-256 (hex) of the images' content, in their order.

    """

    trunk: OnnxNetwork
    preprocessor: Preprocessor
    samples: Sequence[Sample]
    content: str

    def compute(self, draws: Sequence[Sequence[Draw]]) -> Iterator[list[Floats]]:
        """The activations for each sequence of draws of one image, which is decoded once; on all processors."""
        return self.trunk.map(self._tensors, draws)

    def key(self, mirrored: bool) -> str:
        """SHA-256 (hex) of all that the activations depend on."""
        return key_of(
            images=self.content,
            preprocess=dataclasses.asdict(self.preprocessor.spec),
            trunk=self.trunk.key,
            mirrored=mirrored,
            versions={name: version(name) for name in _LIBRARIES},
            format=_FORMAT,
        )

    def _tensors(self, draws: Sequence[Draw]) -> list[Floats]:
        pixels = self.samples[draws[0][0]].load()
        return [
            self.preprocessor(np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels) for _, mirrored in draws
        ]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ActivationCache:
    """How activations are kept.

    Attributes:
        keep: keep them on disk; else they are computed again in every epoch.
        limit_bytes: of the folder; activations that need more are computed again in every epoch.
        mirrored: also of the mirrored images.

    """

    keep: bool = True
    limit_bytes: int = LIMIT_BYTES
    mirrored: bool = True

    @property
    def versions(self) -> tuple[bool, ...]:
        """What is computed of each image: mirrored or not."""
        return (False, True) if self.mirrored else (False,)


class Activations(Protocol):
    """Activations of a set of images.

    Attributes:
        shape: of the activation of one image.

    """

    shape: Shape

    def batches(self, parts: Sequence[Sequence[Draw]]) -> Iterator[Floats]:
        """The activations of each part: float32 (n, *shape)."""


class StoredActivations:
    """Read from disk, a file for the images as they are and one for the mirrored ones."""

    def __init__(self, files: dict[bool, ActivationFile]) -> None:
        self.shape = files[False].shape
        self._files = files

    def batches(self, parts: Sequence[Sequence[Draw]]) -> Iterator[Floats]:
        """The activations of each part: float32 (n, *shape)."""
        for part in parts:
            result = np.empty((len(part), *self.shape), np.float32)
            for mirrored, file in self._files.items():
                places = [place for place, draw in enumerate(part) if draw[1] == mirrored]
                result[places] = file.read([part[place][0] for place in places])
            yield result


class StreamedActivations:
    """Computed again each time, ahead of the training."""

    def __init__(self, stages: FrozenStages) -> None:
        self.shape = stages.trunk.shape
        self._stages = stages

    def batches(self, parts: Sequence[Sequence[Draw]]) -> Iterator[Floats]:
        """The activations of each part: float32 (n, *shape)."""
        rows = self._stages.compute([[draw] for part in parts for draw in part])
        for part in parts:
            yield np.stack([to_half(next(rows)[0]) for _ in part]).astype(np.float32)


def activations(stages: FrozenStages, cache: ActivationCache, progress: Progress) -> Activations:
    """The activations of all images of `stages`: those kept by an earlier run, computed now, or streamed.

    Raises:
        OutputPathError: the disk has no room for them, or the cache folder cannot be written.
        TrainingError: a value is too large for float16.
        ImageError: an image can no longer be read.

    """
    needed = len(cache.versions) * file_bytes(len(stages.samples), stages.trunk.shape)
    each = "each image and its mirror image" if cache.mirrored else "each image"
    if not cache.keep or needed > cache.limit_bytes:
        reason = f"{megabytes(needed)} would be needed, the limit is {megabytes(cache.limit_bytes)}"
        progress.note(
            f"Activations of {each} are computed in every epoch: {reason if cache.keep else 'the cache is off'}"
        )
        return StreamedActivations(stages)
    folder = cache_subfolder(FOLDER)
    paths = {mirrored: folder / f"{stages.key(mirrored)}.npy" for mirrored in cache.versions}
    files = {mirrored: _open(path, stages, progress) for mirrored, path in paths.items()}
    missing = {mirrored: path for mirrored, path in paths.items() if files[mirrored] is None}
    if missing:
        progress.note(f"Activations of {each}: {megabytes(needed)} in {folder}")
        make_room(folder, len(missing) * file_bytes(len(stages.samples), stages.trunk.shape), cache.limit_bytes)
        _write(stages, missing, progress)
        files |= {mirrored: _open(path, stages, progress) for mirrored, path in missing.items()}
    opened = {mirrored: file for mirrored, file in files.items() if file is not None}
    if len(opened) < len(paths):  # another run needed the room
        progress.note(f"{folder}: other runs fill it; activations of {each} are computed in every epoch")
        return StreamedActivations(stages)
    return StoredActivations(opened)


def _open(path: Path, stages: FrozenStages, progress: Progress) -> ActivationFile | None:
    try:
        file = ActivationFile(path, len(stages.samples), stages.trunk.shape, progress)
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        progress.note(f"{error}; computed again")
        return None
    touch(path)
    return file


def _write(stages: FrozenStages, paths: dict[bool, Path], progress: Progress) -> None:
    count = len(stages.samples)
    draws = [[(index, mirrored) for mirrored in paths] for index in range(count)]
    with contextlib.ExitStack() as stack:
        writers = [
            ActivationWriter(stack.enter_context(replacing(path)), count, stages.trunk.shape) for path in paths.values()
        ]
        for rows in progress.steps(stages.compute(draws), "Computing activations", count):
            for writer, row in zip(writers, rows, strict=True):
                writer.add(row)
        assert all(writer.complete for writer in writers)
