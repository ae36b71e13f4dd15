"""The images of a run: those it learned from, to calibrate on, and those it held out, to measure on."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from tl_export.errors import ExportError
from tl_infer.images import ImageSource
from tl_infer.model.contract import ModelSpec
from tl_train.config import TrainConfig
from tl_train.data.dataset import Dataset, fingerprint, load_dataset
from tl_train.data.samples import Sample
from tl_train.data.sources.reading import read_source
from tl_train.data.survey import PerImage
from tl_train.errors import RunError
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder

_Item = TypeVar("_Item")


@dataclasses.dataclass(frozen=True, slots=True)
class LabelledPicture:
    """An image and what is true of it.

    Attributes:
        picture: the image.
        labels: those that it has: of a run of one label per image, that one.
        unknown: those of which that is not known.

    """

    picture: ImageSource
    labels: tuple[str, ...]
    unknown: tuple[str, ...] = ()


def evenly(pictures: Sequence[_Item], count: int | None) -> list[_Item]:
    """`count` of the images, evenly spread over them; all when there are no more, or for None."""
    if count is None or len(pictures) <= count:
        return list(pictures)
    return [pictures[round(place)] for place in np.linspace(0, len(pictures) - 1, count)]


def run_dataset(run: RunFolder, progress: Progress, features: PerImage | None = None) -> Dataset:
    """The images that a run was made of, with the corrections of labels that it recorded.

    Args:
        run: what tl-train wrote.
        progress: shows the reading.
        features: computed of every image, too.

    Raises:
        TlError: the data that the run names can no longer be read.

    """
    config = run.config()
    if config.data.fix:  # which may have been edited since
        config = config.changed(fix=str(run.fixes_file))
    return load_dataset(config, read_source(config, progress), progress, features)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class RunImages:
    """The images of a run, found again.

    Attributes:
        config: of the run.
        dataset: its images; `train` are those that the run learned from, or of data that changed since, those that
            it might have.
        held_out: the images that it was evaluated on.

    """

    config: TrainConfig
    dataset: Dataset
    held_out: Sequence[LabelledPicture]

    @staticmethod
    def load(run: RunFolder, spec: ModelSpec, progress: Progress) -> "RunImages":
        """Read the data that the run names.

        Args:
            run: what tl-train wrote.
            spec: the run's; its fingerprint tells whether the data are still the same.
            progress: shows what goes on.

        Raises:
            TlError: the data can no longer be read, have other classes, or changed and are not files that could be told
                from the held-out ones; or the run held no images out.

        """
        config, held_out = run.config(), held_out_pictures(run)
        dataset = run_dataset(run, progress)
        if dataset.labels != spec.labels:
            raise ExportError(
                f"{config.data.source}: found the classes {list(dataset.labels)}, the run learned {list(spec.labels)}; "
                "put the data back as they were, or export without --int8"
            )
        if fingerprint(dataset) != spec.data_fingerprint:
            progress.note(f"{run}: the data changed since the training; calibrating int8 on what is there now")
            dataset = _without_held_out(dataset, held_out, config.data.source)
        return RunImages(config, dataset, held_out)

    def training(self, count: int) -> list[Sample]:
        """At most `count` of the training images, the same ones each time.

        Drawn evenly from the classes; where an image may have several labels, at random.
        """
        samples = self.dataset.train
        random = np.random.default_rng(0)
        by_class: dict[int, list[int]] = {}
        for place in random.permutation(len(samples)):
            by_class.setdefault(samples[place].label, []).append(int(place))
        turns = sorted((turn, label, place) for label, places in by_class.items() for turn, place in enumerate(places))
        return [samples[place] for _, _, place in turns[:count]]


def _without_held_out(dataset: Dataset, held_out: Sequence[LabelledPicture], source: str) -> Dataset:
    """Changed data for int8 to be made on: they are split anew, so that held-out images may be in any part.

    None of them may be learned from, as they judge. Of the new validation images the network may have learned, so
    nothing is calibrated on those.
    """
    judging = {str(item.picture) for item in held_out}
    train = [sample for sample in dataset.train if sample.path is not None and sample.where not in judging]
    if not train:
        raise ExportError(
            f"{source}: changed since the training, and which of its images were held out cannot be told; put the data "
            "back as they were, or export without --int8"
        )
    return dataclasses.replace(dataset, train=train, val=())


def held_out_pictures(run: RunFolder) -> list[LabelledPicture]:
    """The images that the run was evaluated on, with their true labels.

    Raises:
        ExportError: the run held none out, or its list is damaged.

    """
    try:
        if run.spec().task == "multi":
            pictures = [LabelledPicture(row.path, row.labels, row.unknown) for row in run.label_predictions()]
        else:
            pictures = [LabelledPicture(row.path, (row.label,)) for row in run.predictions()]
    except RunError as error:
        raise ExportError(f"{error}, so nothing to measure int8 on; train again with images held out") from error
    if not pictures:
        raise ExportError(f"{run.predictions_file}: no held-out images, so nothing to measure int8 on")
    return pictures
