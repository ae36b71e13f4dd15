"""`Dataset`: images in three disjoint parts, found, checked and split; its fingerprint."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tl_infer.errors import ImageError, ImageTooLargeError, and_more
from tl_train.config import TrainConfig
from tl_train.config.data import DataConfig
from tl_train.data.looks import Look, Looks
from tl_train.data.samples import PARTS, Fix, Sample, Source
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
        val: held out to monitor the training; may be empty.
        test: held out for the final metrics; may be empty.
        broken: images that could not be read and are in no part.
        looks: the fingerprint of each image; see `LOOK`. A sample's row is `sample.row`.
        features: float32 (N, D), of each image; None where none were computed.
        remarks: what deserves a warning; see `Source`.
        fixes: what was decided about labels; the samples have the labels that were decided on.

    """

    labels: tuple[str, ...]
    train: Sequence[Sample]
    val: Sequence[Sample]
    test: Sequence[Sample]
    broken: Sequence[ImageError]
    looks: Looks
    features: npt.NDArray[np.float32] | None = None
    remarks: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()

    def part(self, name: str) -> Sequence[Sample]:
        """The samples of one of `PARTS`."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    @property
    def has_several(self) -> bool:
        """Whether an image may have several labels; the samples then have `targets`."""
        return self.train[0].targets is not None

    def held_out(self) -> tuple[str, Sequence[Sample]]:
        """The part to report on, with its name: test images, or validation images when there are none."""
        return ("test", self.test) if self.test else ("val", self.val)


def load_dataset(config: TrainConfig, source: Source, progress: Progress, features: PerImage | None = None) -> Dataset:
    """Read every image of a source once, and split what it does not split itself.

    A bad image is known before the first training step. Test images that the source does not bring are split off the
    training images. Validation images are too, where they are needed or asked for; else all that a source gives for
    training is trained on.
    Labels are corrected after the split, so that the same images are held out with corrections and without.

    Args:
        config: fractions of the splits, seed, what to do with bad images, whether to use the cache.
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
        is_needed = config.needs_validation or source.test is None or config.data.val_split is not None
        train, val = split(train, labels, config.data.val_share if is_needed else 0.0, config.seed)
    train, val, test = (corrected(part, source.fixes) for part in (train, val, test))
    _check_trainable(train, labels, config.data.fix)
    looks, *others = found.values
    features_of_all = others[0] if others else None
    return Dataset(labels, train, val, test, tuple(found.broken), looks, features_of_all, source.remarks, source.fixes)


def corrected(samples: Sequence[Sample], fixes: Sequence[Fix]) -> list[Sample]:
    """The samples with the labels that were decided on, without those that were dropped."""
    decided = {fix.name: fix for fix in fixes}
    kept = []
    for sample in samples:
        fix = decided.get(sample.name)
        if fix is None:
            kept.append(sample)
        elif fix.action != "drop":
            kept.append(dataclasses.replace(sample, label=fix.new_label))
    return kept


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 (hex) over the labels, and over part, label and pixels of every image in order."""
    digest = hashlib.sha256(repr(dataset.labels).encode())
    for part in PARTS:
        for sample in dataset.part(part):
            checksum = dataset.looks["checksum"][sample.row].tobytes()
            said = sample.label if sample.targets is None else sample.targets.tolist()
            digest.update(f"{part} {said} {checksum.hex()}\n".encode())
    return digest.hexdigest()


def _note_unused_shares(config: DataConfig, source: Source, progress: Progress) -> None:
    for option, name, share, own in (("--val-split", "validation", config.val_split, source.val),
                                     ("--test-split", "test", config.test_split, source.test)):  # fmt: skip
        if share is not None and own is not None:
            progress.note(f"No effect: {option} {share:g}; the dataset has its own {name} split")


def _report_broken(broken: Sequence[ImageError], skip_bad: bool, progress: Progress) -> None:
    if broken and not skip_bad:
        raising = " raise --max-pixels or --max-side," if isinstance(broken[0], ImageTooLargeError) else ""
        raise DataError(
            f"{and_more(list(map(str, broken)), 1)}; fix or remove such files,{raising} or leave them out with "
            "--skip-bad"
        )
    for error in broken:
        progress.note(f"Skipped: {error}")


def _check_trainable(train: Sequence[Sample], labels: Sequence[str], fix: str) -> None:
    present = {label for sample in train for label in sample.present}
    for label, name in enumerate(labels):
        if label not in present:
            after = f" after the corrections of {fix}" if fix else ""
            raise DataError(f"class '{name}': no readable training image{after}; add images or remove the class")
