"""Features of the frozen backbone, computed once per image through onnxruntime; a head is then fitted on them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tl_infer.images import Pixels
from tl_infer.system.parallel import available_threads, ordered_map
from tl_train.data.dataset import Dataset
from tl_train.data.decoder import DECODER
from tl_train.data.samples import Sample, labels_of
from tl_train.models.network import Network
from tl_train.models.onnx_network import Backbone, FrozenNetwork, OnnxNetwork, open_onnx
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress

Features = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CachedPart:
    """The features of some images.

    Attributes:
        features: float32 (N, D), what the head sees.
        labels: int64 (N,).

    Raises:
        ValueError: not as many labels as rows.

    """

    features: Features
    labels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or self.labels.shape != self.features.shape[:1]:
            raise ValueError(
                f"found features {self.features.shape} and labels {self.labels.shape}, expected (N, D), (N,)"
            )

    def chosen(self, which: npt.NDArray[np.bool_]) -> "CachedPart":
        """Some of the images."""
        return CachedPart(self.features[which], self.labels[which])


class BackboneFeatures:
    """Computes what the head of a network sees of an image, for `survey`: the very numbers that the file computes."""

    dtype: np.dtype[Any] = np.dtype(np.float32)

    def __init__(self, backbone: OnnxNetwork, preprocessor: Preprocessor) -> None:
        """Take the network up to its head, and what makes its input."""
        self._backbone, self._preprocessor = backbone, preprocessor
        self.space = f"features 1; {DECODER}; {preprocessor.key}; {backbone.key}"

    @staticmethod
    def of(network: Network, preprocessor: Preprocessor, progress: Progress) -> "BackboneFeatures":
        """Those of a network's backbone, which is exported to ONNX for it, once.

        Raises:
            TracingError: torch cannot express the network in ONNX.

        """
        frozen = FrozenNetwork(Backbone(network), network.architecture.name, preprocessor.spec.size)
        return BackboneFeatures(open_onnx(frozen, progress), preprocessor)

    def __call__(self, pixels: Pixels) -> Features:
        """The features of one image, uint8 (H, W, 3): float32 (D,)."""
        return self._backbone(self._preprocessor(pixels))

    def of_images(self, samples: Sequence[Sample]) -> CachedPart:
        """The features of any samples, on all processors.

        Raises:
            ImageError: a sample cannot be read.

        """
        rows = ordered_map(lambda sample: self(sample.load()), samples, available_threads())
        return CachedPart(np.stack(list(rows)), labels_of(samples))


def features_of(dataset: Dataset, samples: Sequence[Sample]) -> Features:
    """The features of some of a data set's samples, float32 (N, D)."""
    assert dataset.features is not None
    return dataset.features[[sample.row for sample in samples]]


def part_of(dataset: Dataset, samples: Sequence[Sample]) -> CachedPart:
    """The features of some of a data set's samples, with their labels."""
    return CachedPart(features_of(dataset, samples), labels_of(samples))
