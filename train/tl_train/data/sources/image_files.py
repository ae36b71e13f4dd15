"""Files that are images by their names, and the image that an entry of a list means."""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from tl_infer.errors import first_line
from tl_infer.system.finding import is_folder, natural_key
from tl_train.errors import DataError

# Also of formats that are read only if asked for: such files are somebody's images all the same.
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".hif",
    ".avif", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".tga",
))  # fmt: skip


def is_image_name(name: str) -> bool:
    """Whether a file of this name is an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")  # noqa: PTH122 - quicker


def images_in(folder: Path) -> list[str]:
    """Names of the images directly in a folder, in natural order.

    Raises:
        DataError: the folder cannot be listed.

    """
    try:
        names = [entry.name for entry in os.scandir(folder) if is_image_name(entry.name) and not is_folder(entry)]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {first_line(error)}") from error
    return sorted(names, key=natural_key)


class ListedImages:
    """Finds the files that the entries of a list mean: paths, or names without the suffix."""

    def __init__(self, root: Path) -> None:
        """Take the folder that relative paths start from."""
        self._root = root
        self._names: dict[Path, dict[str, list[str]]] = {}

    def find(self, entry: str) -> Path:
        """The file that an entry means.

        It is tried as it is, then in Unicode's NFC and NFD, which look the same, without spaces around it, and with
        slashes for the backslashes of Windows. Where no such file is there, it may be a name without suffix.

        Raises:
            DataError: no such file, a folder, or a name that several files have; ends in what is expected.

        """
        try:
            paths = [self._root / spelling for spelling in _spellings(entry)]
            for path in paths:
                if path.is_file() or (path.exists() and not path.is_dir()):
                    return path
            for path in paths:
                if found := self._with_suffix(path):
                    return found
            problem = "a folder" if any(path.is_dir() for path in paths) else "no such file"
        except DataError:
            raise
        except (OSError, ValueError) as error:  # a name too long, or with a NUL in it
            problem = f"not a usable path ({first_line(error)})"
        raise DataError(
            f"{self._root / entry}: {problem}; expected an image, relative to {self._root.absolute()} "
            "(--images-root names another folder)"
        )

    def finds(self, entry: str) -> bool:
        """Whether an entry means a file."""
        try:
            self.find(entry)
        except DataError:
            return False
        return True

    def _with_suffix(self, path: Path) -> Path | None:
        names = self._by_stem(path.parent).get(unicodedata.normalize("NFC", path.name), [])
        if len(names) > 1:
            raise DataError(f"{path}: could be {' or '.join(names)}; expected a name with its suffix")
        return path.with_name(names[0]) if names else None

    def _by_stem(self, folder: Path) -> dict[str, list[str]]:
        """The images in a folder by their names without suffix, in NFC; each folder is listed once."""
        if folder not in self._names:
            self._names[folder] = {}
            for name in images_in(folder) if folder.is_dir() else ():
                stem = unicodedata.normalize("NFC", os.path.splitext(name)[0])  # noqa: PTH122 - quicker
                self._names[folder].setdefault(stem, []).append(name)
        return self._names[folder]


def _spellings(entry: str) -> Iterator[str]:
    """The ways to write an entry, the given one first."""
    if entry.isascii() and "\\" not in entry and entry == entry.strip():  # as nearly all are: there is one way
        yield entry
        return
    forms = dict.fromkeys(form for text in (entry, entry.strip()) for form in (text, *_normal_forms(text)))
    yield from forms
    if "\\" in entry:
        yield from (form.replace("\\", "/") for form in forms)


def _normal_forms(text: str) -> tuple[str, str]:
    return unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
