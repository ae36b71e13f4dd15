"""`Dataset`: images in three disjoint parts, found, checked and split; its fingerprint."""

import dataclasses
import hashlib
from collections.abc import Sequence

from tl_infer.errors import ImageError, and_more
from tl_train.config import TrainConfig
from tl_train.data.samples import Decoder, Sample
from tl_train.data.sources import TEST_SPLIT_SEED, read_source
from tl_train.data.split import split
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

    """

    labels: tuple[str, ...]
    train: Sequence[Sample]
    val: Sequence[Sample]
    test: Sequence[Sample]
    broken: Sequence[ImageError] = ()

    def held_out(self) -> tuple[str, Sequence[Sample]]:
        """The part to report on, with its name: test images, or validation images when there are none."""
        return ("test", self.test) if self.test else ("val", self.val)


def load_dataset(config: TrainConfig, progress: Progress) -> Dataset:
    """Find, check and split the images of `config.data.source`.

    Every image is decoded once, before the first training step, so a bad one is known at the start. Validation and
    test images that the source does not name itself are split off the training images.

    Raises:
        ConfigError: options that do not fit the kind of data.
        DataError: no such data, no classes, an empty class, too few images, an unreadable image (unless
            `config.data.skip_bad`, which leaves it out and says so).
        DownloadError: a built-in set could not be fetched.

    """
    source = read_source(config, progress)
    labels = source.labels
    decoder = Decoder(progress)
    train = decoder.decode(source.train)
    val = None if source.val is None else decoder.decode(source.val)
    test = None if source.test is None else decoder.decode(source.test)
    _report_broken(decoder.broken, config.data.skip_bad, progress)
    if test is None:
        train, test = split(train, labels, config.data.test_split, TEST_SPLIT_SEED)
    if val is None:
        train, val = split(train, labels, config.data.val_split, config.seed)
    _check_trainable(train, labels)
    return Dataset(labels, train, val, test, tuple(decoder.broken))


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 (hex) over the labels, and over part, label and pixels of every image in order."""
    digest = hashlib.sha256(repr(dataset.labels).encode())
    for part, samples in (("train", dataset.train), ("val", dataset.val), ("test", dataset.test)):
        for sample in samples:
            pixels = sample.load()
            digest.update(f"{part} {sample.label} {pixels.shape}".encode())
            digest.update(pixels.tobytes())
    return digest.hexdigest()


def _report_broken(broken: Sequence[ImageError], skip_bad: bool, progress: Progress) -> None:
    if broken and not skip_bad:
        raise DataError(
            f"{and_more(list(map(str, broken)), 1)}; repair or remove such files, or leave them out with --skip-bad"
        )
    for error in broken:
        progress.note(f"Skipped: {error}")


def _check_trainable(train: Sequence[Sample], labels: Sequence[str]) -> None:
    present = {sample.label for sample in train}
    for label, name in enumerate(labels):
        if label not in present:
            raise DataError(f"class '{name}': no readable training image; add images or remove the class")
