"""What the interval of an accuracy takes for granted, and the held-out images do not have."""

from collections.abc import Iterator

from tl_train.data.dataset import Dataset
from tl_train.preflight.findings import Preflight


def accuracy_caveats(dataset: Dataset, findings: Preflight) -> Iterator[str]:
    """Why an accuracy on new images may be outside the interval, a sentence each.

    The interval is that of images which have nothing to do with each other, nor with those of the training.
    """
    part, held_out = dataset.held_out()
    groups = {sample.group for sample in held_out if sample.group is not None}
    independent = len(groups) + sum(sample.group is None for sample in held_out)
    if independent < len(held_out):
        yield (
            f"The images are of {independent} group{'s' * (independent != 1)}, and those of a group are alike: the "
            "true interval is wider."
        )
    copies = {
        image.name
        for group in findings.duplicates
        if any(image.part == "train" for image in group.pictures)
        for image in group.pictures
        if image.part == part
    }
    if copies:
        has = "has a copy or near copy" if len(copies) == 1 else "have copies or near copies"
        yield f"{len(copies)} of the images {has} among the training images, which makes the accuracy too high."
