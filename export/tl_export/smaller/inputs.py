"""A network's inputs for some images, kept as grey levels: a quarter of the memory of float32."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tl_export.smaller.judged import Truth
from tl_infer.model.contract import PreprocessSpec
from tl_infer.system.parallel import available_threads, ordered_map
from tl_train.data.samples import Sample, truth_of
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class NetworkInputs:
    """Preprocessed images with what is true of them.

    Attributes:
        levels: uint8 (N, 3, h, w), before they are normalised; the preprocessing rounds them.
        truth: the true classes, int64 (N,); of images that may have several labels, targets, float32 (N, C).
        scale, offset: float32 (3, 1, 1), a normalised value is level * scale + offset.

    """

    levels: npt.NDArray[np.uint8]
    truth: Truth
    scale: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]

    @staticmethod
    def of(samples: Sequence[Sample], spec: PreprocessSpec, progress: Progress) -> "NetworkInputs":
        """Decode and preprocess images, on all processors.

        Args:
            samples: one or more.
            spec: the file's own preprocessing.
            progress: shows how far it is.

        Raises:
            ImageError: an image cannot be read.

        """
        mean, std = (np.reshape(values, (3, 1, 1)) for values in (spec.mean, spec.std))
        scale, offset = (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)
        preprocess = Preprocessor(spec)

        def load(sample: Sample) -> npt.NDArray[np.uint8]:
            levels: npt.NDArray[np.uint8] = np.rint((preprocess(sample.load()) - offset) / scale).astype(np.uint8)
            return levels

        levels = np.empty((len(samples), 3, *spec.size), np.uint8)
        found = ordered_map(load, samples, available_threads())
        for place, image in enumerate(progress.steps(found, "Preprocessing", len(samples))):
            levels[place] = image
        return NetworkInputs(levels, truth_of(samples), scale, offset)

    def __len__(self) -> int:
        return len(self.truth)

    def __getitem__(self, place: int) -> npt.NDArray[np.float32]:
        """The network's input for one image: float32 (3, h, w)."""
        tensor: npt.NDArray[np.float32] = self.levels[place] * self.scale + self.offset
        return tensor

    def part(self, start: int, stop: int | None = None) -> "NetworkInputs":
        """Some of the images, in a row."""
        return dataclasses.replace(self, levels=self.levels[start:stop], truth=self.truth[start:stop])
