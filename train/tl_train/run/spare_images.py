"""Which images a run can spare: that choose between weights, or calibrate."""

from collections.abc import Sequence

from tl_train.config import TrainConfig
from tl_train.data.dataset import Dataset
from tl_train.data.samples import Sample


def calibration_images(config: TrainConfig, dataset: Dataset) -> tuple[Sequence[Sample], str]:
    """The validation images where they were not trained on, chose no weights and give no accuracy; and their name.

    Where one of these does not hold there are none, and the name says what would be needed.
    """
    if config.steps.patience is not None:
        return (), "images beside the validation images (which chose the epoch)"
    if config.steps.redraw_val:
        return (), "images beside the validation images (which are trained on in other epochs)"
    if not dataset.test:
        return (), "images beside the validation images (which give the accuracy)"
    return dataset.val, "validation images"
