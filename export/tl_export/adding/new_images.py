"""The images of a class that is added: found, decoded and checked."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tl_export.errors import ExportError
from tl_infer.errors import ImageError, InputPathError
from tl_infer.images import load_image
from tl_infer.limits import Limits
from tl_infer.system.finding import files_below
from tl_train.data.dataset import Dataset
from tl_train.data.looks import looks_of
from tl_train.data.samples import PARTS
from tl_train.data.sources.class_names import appearance, normal_name
from tl_train.progress import Progress

# With fewer, the mean is mostly the accident of which images there are, and leaving one out says next to nothing.
MIN_IMAGES = 5


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class NewImages:
    """Different images of one new class.

    Attributes:
        name: of the class, in NFC.
        files: the images, each with other pixels than all others.
        checksums: of the pixels of each.

    """

    name: str
    files: Sequence[Path]
    checksums: Sequence[bytes]

    @staticmethod
    def read(name: str, folder: Path, labels: Sequence[str], limits: Limits, progress: Progress) -> "NewImages":
        """Read all images below a folder.

        Args:
            name: of the class.
            folder: where its images lie.
            labels: the classes that there are already.
            limits: what decoding an image may take.
            progress: shows how far it is.

        Raises:
            ExportError: the name is empty, unreadable, or that of a class; the folder is none, a file in it is no
                image, or there are fewer than `MIN_IMAGES` different images.

        """
        name = normal_name(name)
        _check_name(name, labels)
        files, checksums = _checksums(name, folder, limits, progress)
        first = {checksum: place for place, checksum in reversed(list(enumerate(checksums)))}
        kept = sorted(first.values())
        copies = len(files) - len(kept)
        if len(kept) < MIN_IMAGES:
            beside = f" ({copies} more are copies of these)" if copies else ""
            raise ExportError(
                f"{folder}: {len(kept)} image(s) of class '{name}'{beside}, expected at least {MIN_IMAGES}: the mean "
                "of fewer says more about those images than about the class; add images"
            )
        return NewImages(name, [files[i] for i in kept], [checksums[i] for i in kept])

    def check_apart_from(self, dataset: Dataset) -> None:
        """No image is one of a known class, too.

        Raises:
            ExportError: one is; names both.

        """
        file_of = dict(zip(self.checksums, self.files, strict=True))
        for part in PARTS:
            for sample in dataset.part(part):
                file = file_of.get(dataset.looks["checksum"][sample.row].tobytes())
                if file is not None:
                    raise ExportError(
                        f"{file}: the same image as {sample.where} of class "
                        f"'{dataset.labels[sample.label]}'; an image has one class, remove it from one of them"
                    )


def _check_name(name: str, labels: Sequence[str]) -> None:
    if not name.strip() or not name.isprintable():
        raise ExportError(f"add_class: found the name {name!r}, expected readable text")
    for label in labels:
        if appearance(label) == appearance(name):
            how = "is there already" if label == name else f"looks like '{label}', which is there already"
            raise ExportError(f"add_class: class '{name}' {how}; for more images of a class, train again with tl-train")


def _checksums(name: str, folder: Path, limits: Limits, progress: Progress) -> tuple[list[Path], list[bytes]]:
    """The files and what their pixels come to; the pixels of many photos would not fit into memory."""
    if not folder.is_dir():
        raise ExportError(f"{folder}: no such folder; expected one with images of class '{name}'")
    try:
        files = files_below(folder)
        steps = progress.steps(files, "Reading the new class", len(files))
        return files, [looks_of([load_image(file, limits)])["checksum"][0].tobytes() for file in steps]
    except (ImageError, InputPathError) as error:
        raise ExportError(f"{error}; fix or remove it, expected images of class '{name}' only") from error
