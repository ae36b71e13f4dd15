"""`--sort-into`: each file into the folder of its class; labels as folder names that are safe on every system."""

import os
import re
import string
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from tl_infer.cli.options import Mode
from tl_infer.cli.output.placing import Intend, Placer
from tl_infer.cli.output.rows import Row
from tl_infer.system.files import make_folder

# For files without a label; no folder of a label begins with an underscore.
UNSURE = "_unsure"
UNFAMILIAR = "_unfamiliar"
FAILED = "_failed"

_SIGNS = frozenset(" -_.,()&'+@!#")
_CASELESS = frozenset(string.ascii_lowercase + string.digits + " -_.")
_MAX_BYTES = 200  # systems allow 255
# Source: Microsoft, Naming Files, Paths, and Namespaces.
_RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\..*)?", re.IGNORECASE | re.DOTALL)


class Sorter:
    """Puts files into one folder per class, one per reason for abstaining, and one for those that failed."""

    def __init__(self, folder: Path, labels: Sequence[str], mode: Mode) -> None:
        """No folder is made before the first file needs it.

        Args:
            folder: parent of the folders.
            labels: of the model.
            mode: `copy`, `move`, or `link`; `move` leaves failed files where they are.

        """
        self._names = folder_names(labels)
        self._folder = folder
        self._mode = mode
        self._placer = Placer()

    @property
    def folders(self) -> frozenset[str]:
        """Real paths of the folders that files go to, whether they exist yet or not."""
        names = (*self._names.values(), UNSURE, UNFAMILIAR, FAILED)
        return frozenset(os.path.realpath(self._folder / name) for name in names)

    @property
    def mode(self) -> Mode:
        """How files get there."""
        return self._mode

    def sort(self, source: Path, row: Row, intend: Intend) -> Path | None:
        """Put a file where its row says.

        Args:
            source: the file.
            row: its result.
            intend: takes the name that the new file is to have, before anything is done.

        Returns:
            The new file; None if a failed file was left alone.

        Raises:
            OSError: this file cannot be copied, moved or linked; it is where it was.
            OutputPathError: no file could be put there.

        """
        if row.error is not None:
            # If it is missing or not a regular file, there is nothing to put anywhere.
            if self._mode == "move" or not source.is_file():
                return None
            return self._placer.place(source, self._made(FAILED), self._mode, intend)
        return self._placer.place(source, self._made(self._name(row)), self._mode, intend)

    def _name(self, row: Row) -> str:
        if row.reason == "unfamiliar":
            return UNFAMILIAR
        return UNSURE if row.label is None else self._names[row.label]

    def _made(self, name: str) -> Path:
        folder = self._folder / name
        make_folder(folder)
        return folder


def folder_names(labels: Sequence[str]) -> dict[str, str]:
    """The folder of each label: the label itself, percent-encoded as in URLs where it is not safe.

    No name leaves its parent folder, begins with a dot, an underscore or a hyphen, or is reserved on some system; no
    two are the same on a system that ignores case or treats two forms of an accent as equal.
    """
    names = {label: _encode(label, _is_plain) for label in labels}
    alike: dict[str, list[str]] = {}
    for label, name in names.items():
        alike.setdefault(_folded(name), []).append(label)
    for clashing in alike.values():
        if len(clashing) > 1:
            names |= {label: _encode(label, _CASELESS.__contains__) for label in clashing}
    return names


def _is_plain(char: str) -> bool:
    return unicodedata.category(char)[0] in "LNM" or char in _SIGNS


def _encode(label: str, keep: Callable[[str], bool]) -> str:
    """The signs `%` and `~` occur in a name only where this puts them, so different labels stay different."""
    pieces = [char if keep(char) else _percent(char) for char in label]
    if label[0] in " .-_" or _RESERVED.fullmatch(label):
        pieces[0] = _percent(label[0])
    if label[-1] in " .":
        pieces[-1] = _percent(label[-1])
    if sum(len(piece.encode()) for piece in pieces) <= _MAX_BYTES:
        return "".join(pieces)
    import hashlib  # here, because it loads OpenSSL, and most runs do without

    digest = hashlib.sha256(label.encode("utf-8", errors="surrogatepass")).hexdigest()[:16]
    while sum(len(piece.encode()) for piece in pieces) > _MAX_BYTES - len(digest) - 1:
        pieces.pop()
    return f"{''.join(pieces)}~{digest}"


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", errors="surrogatepass"))


def _folded(name: str) -> str:
    """Equal for names that some system treats as the same, and sometimes for names that none does."""
    composed = unicodedata.normalize("NFKC", name).upper().casefold()
    return unicodedata.normalize("NFKC", composed)
