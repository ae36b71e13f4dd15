"""predictions.csv, the answers on the held-out images: writing it, and the images that have no file; reading it."""

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from tl_infer.errors import first_line
from tl_infer.system.files import make_folder, write_bytes
from tl_infer.text.label_sets import split
from tl_infer.text.safetext import plain_text
from tl_train.data.samples import Sample
from tl_train.errors import RunError
from tl_train.evaluation.metrics import Evaluation
from tl_train.tables import read_csv, write_csv


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """What a run answered on one held-out image: its file, its label, and the predicted class."""

    path: Path
    label: str
    predicted: str


@dataclasses.dataclass(frozen=True, slots=True)
class LabelPrediction:
    """What a run answered on one held-out image that may have several labels.

    Attributes:
        path: its file.
        labels: those that it has.
        unknown: those of which that is not known.
        predicted: those that it is given.

    """

    path: Path
    labels: tuple[str, ...]
    unknown: tuple[str, ...]
    predicted: tuple[str, ...]


def read_predictions(listing: Path) -> list[Prediction]:
    """The rows of predictions.csv; paths that are relative are so to its folder.

    Raises:
        RunError: no such file, or it is damaged; the remedy is left to the caller.

    """
    with _damage_explained(listing):
        return [
            Prediction(listing.parent / row["path"], plain_text(row["label"]), plain_text(row["predicted"]))
            for row in read_csv(listing)
        ]


def read_label_predictions(listing: Path) -> list[LabelPrediction]:
    """The rows of predictions.csv of a run whose images may have several labels.

    Raises:
        RunError: as for `read_predictions`.

    """
    with _damage_explained(listing):
        return [
            LabelPrediction(
                listing.parent / row["path"],
                *(split(plain_text(row[name])) for name in ("labels", "unknown", "predicted")),
            )
            for row in read_csv(listing)
        ]


def read_paths(listing: Path) -> list[Path]:
    """The files in predictions.csv, also of a run whose images may have several labels.

    Raises:
        RunError: as for `read_predictions`.

    """
    with _damage_explained(listing):
        rows = read_csv(listing)
        for row in rows:
            plain_text(row["predicted"])  # which every list has, and a row that is cut off has not
        return [listing.parent / row["path"] for row in rows]  # an absolute path stays what it is


@contextlib.contextmanager
def _damage_explained(listing: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError) as error:  # TypeError: a row with too few cells
        raise RunError(f"{listing}: no list of held-out images ({first_line(error)})") from error


def write_predictions(listing: Path, evaluation: Evaluation, labels: Sequence[str], files: Sequence[Path]) -> None:
    """Write a row per held-out image: file, label, predicted class, and the probability of each class.

    Raises:
        OutputPathError: the file cannot be written.

    """
    header = ["path", "label", "predicted", *(f"p({label})" for label in labels)]
    rows = [
        [file, labels[truth], labels[predicted], *(round(float(p), 6) for p in probabilities)]
        for file, truth, predicted, probabilities in zip(
            files, evaluation.truth, evaluation.predicted, evaluation.probabilities, strict=True
        )
    ]
    write_csv(listing, header, rows)


def save_images(folder: Path, samples: Sequence[Sample], labels: Sequence[str]) -> list[Path]:
    """Where each sample lies as a file; those that are not files are written as PNG, one sub-folder per class.

    Returns:
        A path per sample: its own, absolute, or one below `folder`, relative to the folder around it.

    """
    paths = []
    for sample in samples:
        if sample.path is not None:
            paths.append(sample.path)
            continue
        path = folder / labels[sample.label] / f"{sample.name}.png"
        make_folder(path.parent)
        buffer = io.BytesIO()
        Image.fromarray(sample.load()).save(buffer, format="PNG")
        write_bytes(path, buffer.getvalue())
        paths.append(path.relative_to(folder.parent))
    return paths
