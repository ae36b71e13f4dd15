"""The pictures of a run: those it learned from, to calibrate with, and those it held out, to measure on."""

from pathlib import Path

import numpy as np

from tl_export.errors import ExportError
from tl_export.smaller.gates import LabelledPicture
from tl_train.data.dataset import fingerprint, load_dataset
from tl_train.data.sources import read_source
from tl_train.errors import RunError
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder


def training_pictures(run: Path, count: int, progress: Progress | None = None) -> list[LabelledPicture]:
    """Pictures that the run learned from, drawn evenly from its classes; the same ones each time.

    Args:
        run: folder that tl-train wrote.
        count: at most this many; all when there are fewer.
        progress: shows the decoding.

    Returns:
        Decoded, uint8 arrays (H, W, 3), upright RGB, before any augmentation.

    Raises:
        TlError: not a finished run, or the data that it names cannot be read any more.

    """
    progress = progress or Progress()
    config = RunFolder(run).config()
    dataset = load_dataset(config, read_source(config, progress), progress)
    if fingerprint(dataset) != RunFolder(run).spec().data_fingerprint:
        progress.note(f"{run}: the data changed since the training; calibrating int8 on what is there now")
    samples = dataset.train
    random = np.random.default_rng(0)
    by_class: dict[int, list[int]] = {}
    for place in random.permutation(len(samples)):
        by_class.setdefault(samples[place].label, []).append(int(place))
    turns = sorted((turn, label, place) for label, places in by_class.items() for turn, place in enumerate(places))
    return [LabelledPicture(samples[place].load(), dataset.labels[label]) for _, label, place in turns[:count]]


def held_out_pictures(run: Path) -> list[LabelledPicture]:
    """The pictures that the run reported on, with their true labels.

    Raises:
        ExportError: the run held none back, or its list is damaged.

    """
    folder = RunFolder(run)
    try:
        pictures = [LabelledPicture(prediction.path, prediction.label) for prediction in folder.predictions()]
    except RunError as error:
        raise ExportError(f"{error}, so nothing to measure int8 on; train again with images held out") from error
    if not pictures:
        raise ExportError(f"{folder.predictions_file}: no held-out pictures, so nothing to measure int8 on")
    return pictures
