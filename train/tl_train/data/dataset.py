"""`Dataset`: images in three disjoint parts, found, checked and split; its fingerprint."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tl_infer.errors import ImageError, ImageTooLargeError, and_more
from tl_train.config import TrainConfig
from tl_train.config.groups import DataConfig
from tl_train.data.looks import Look, Looks
from tl_train.data.samples import PARTS, Sample, Source
from tl_train.data.split import TEST_SPLIT_SEED, split
from tl_train.data.survey import PerImage, survey
from tl_train.errors import DataError
from tl_train.progress import Progress


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Samples in three disjoint parts.

    Attributes:
        labels: class names; a sample's label is an index into them.
        train: trained on.
        val: held back to watch the training; may be empty.
        test: used for nothing but the final figures; may be empty.
        broken: images that could not be read and are in no part.
        looks: the table of what was seen of each image; see `LOOK`. A sample's row is `sample.row`.
        features: float32 (N, D), of each image; None where none were computed.
        remarks: what deserves a warning; see `Source`.

    """

    labels: tuple[str, ...]
    train: Sequence[Sample]
    val: Sequence[Sample]
    test: Sequence[Sample]
    broken: Sequence[ImageError]
    looks: Looks
    features: npt.NDArray[np.float32] | None = None
    remarks: tuple[str, ...] = ()

    def part(self, name: str) -> Sequence[Sample]:
        """The samples of one of `PARTS`."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    def held_out(self) -> tuple[str, Sequence[Sample]]:
        """The part to report on, with its name: test images, or validation images when there are none."""
        return ("test", self.test) if self.test else ("val", self.val)


def load_dataset(config: TrainConfig, source: Source, progress: Progress, features: PerImage | None = None) -> Dataset:
    """Read every image of a source once, and split what it does not split itself.

    A bad image is known before the first training step. Test images that the source does not bring are split off the
    training images. Validation images are too, where they are needed or asked for: a penalised head takes no steps that
    could be watched, and is calibrated by cross-fitting; what its source gives for training, all of it may learn from.

    Args:
        config: shares of the parts, seed, what to do with bad images, whether to use the cache.
        source: the images, as `read_source` finds them.
        progress: shows what goes on.
        features: computed of every image in the same pass; None for none.

    Raises:
        DataError: too few images, or one that cannot be read (unless `skip_bad`, which leaves it out and says so).

    """
    computations: list[PerImage] = [Look()] if features is None else [Look(), features]
    found = survey([*source.train, *(source.val or ()), *(source.test or ())], computations, progress,
                   use_cache=not config.data.no_cache)  # fmt: skip
    _report_broken(found.broken, config.data.skip_bad, progress)
    kept = {sample.name: sample for sample in found.samples}
    train, val, test = (
        None if part is None else [kept[sample.name] for sample in part if sample.name in kept]
        for part in (source.train, source.val, source.test)
    )
    assert train is not None
    labels = source.labels
    _note_unused_shares(config.data, source, progress)
    if test is None:
        train, test = split(train, labels, config.data.test_share, TEST_SPLIT_SEED)
    if val is None:
        is_needed = config.takes_steps or source.test is None or config.data.val_split is not None
        train, val = split(train, labels, config.data.val_share if is_needed else 0.0, config.seed)
    _check_trainable(train, labels)
    looks, *others = found.values
    features_of_all = others[0] if others else None
    return Dataset(labels, train, val, test, tuple(found.broken), looks, features_of_all, source.remarks)


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 (hex) over the labels, and over part, label and pixels of every image in order."""
    digest = hashlib.sha256(repr(dataset.labels).encode())
    for part in PARTS:
        for sample in dataset.part(part):
            checksum = dataset.looks["checksum"][sample.row].tobytes()
            digest.update(f"{part} {sample.label} {checksum.hex()}\n".encode())
    return digest.hexdigest()


def _note_unused_shares(config: DataConfig, source: Source, progress: Progress) -> None:
    for option, share, own in (("--val-split", config.val_split, source.val),
                               ("--test-split", config.test_split, source.test)):  # fmt: skip
        if share is not None and own is not None:
            progress.note(f"No effect: {option} {share:g}; the data bring their own images for that")


def _report_broken(broken: Sequence[ImageError], skip_bad: bool, progress: Progress) -> None:
    if broken and not skip_bad:
        raising = " raise --max-pixels or --max-side," if isinstance(broken[0], ImageTooLargeError) else ""
        raise DataError(
            f"{and_more(list(map(str, broken)), 1)}; repair or remove such files,{raising} or leave them out with "
            "--skip-bad"
        )
    for error in broken:
        progress.note(f"Skipped: {error}")


def _check_trainable(train: Sequence[Sample], labels: Sequence[str]) -> None:
    present = {sample.label for sample in train}
    for label, name in enumerate(labels):
        if label not in present:
            raise DataError(f"class '{name}': no readable training image; add images or remove the class")
