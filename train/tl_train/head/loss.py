"""The loss of the penalised head: torch's `cross_entropy` with weights and label smoothing, as shares and targets."""

import dataclasses

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Labels = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Loss:
    """The loss that is fitted: torch's `cross_entropy` with these weights and this smoothing.

    Attributes:
        class_weights: (C,), above 0; None for equal weights.
        image_weights: (N,), 0 or more; None for equal weights.
        label_smoothing: share of the target probability that is spread over all classes, 0 to below 1. It shapes the
            fit only: held-out images are judged by their label.

    Raises:
        ValueError: a value outside its range.

    """

    class_weights: npt.NDArray[np.floating] | None = None
    image_weights: npt.NDArray[np.floating] | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label smoothing {self.label_smoothing}: expected 0 to below 1")
        if self.class_weights is not None and not self.class_weights.min() > 0:
            raise ValueError(f"class weight {self.class_weights.min()}: expected above 0")
        if self.image_weights is not None and not self.image_weights.min() >= 0:
            raise ValueError(f"image weight {self.image_weights.min()}: expected 0 or more")

    def shares(self, labels: Labels) -> Tensor:
        """What each image counts in the mean loss: float64 (N,), sum 1."""
        weights = np.ones(len(labels)) if self.image_weights is None else self.image_weights
        if self.class_weights is not None:
            weights = weights * self.class_weights[labels]
        return torch.tensor(weights / weights.sum(), dtype=torch.float64)

    def targets(self, labels: Labels, classes: int) -> Tensor:
        """What each class's log-probability counts in an image's loss: float32 (N, C)."""
        targets = torch.full((len(labels), classes), self.label_smoothing / classes)
        targets[torch.arange(len(labels)), torch.tensor(labels)] += 1 - self.label_smoothing
        if self.class_weights is not None and self.label_smoothing > 0:
            # torch weighs each class of a smoothed target; the image's share has the weight of its label already.
            weights = torch.tensor(self.class_weights, dtype=torch.float32)
            targets *= weights / weights[labels, None]
        return targets


CROSS_ENTROPY = Loss()
