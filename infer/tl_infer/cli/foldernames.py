"""Labels as names of folders, on every system and without two labels in one folder."""

import hashlib
import re
import string
import unicodedata
from collections.abc import Callable, Sequence

# What is no label; no folder of a label begins with an underscore.
UNSURE = "_unsure"
FAILED = "_failed"

_SIGNS = frozenset(" -_.,()&'+@!#")
_CASELESS = frozenset(string.ascii_lowercase + string.digits + " -_.")
_MAX_BYTES = 200  # systems allow 255
# Source: Microsoft, Naming Files, Paths, and Namespaces.
_RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\..*)?", re.IGNORECASE | re.DOTALL)


def folder_names(labels: Sequence[str]) -> dict[str, str]:
    """The folder of each label: the label itself where that is safe, what is not percent-encoded as in URLs.

    No name leaves the folder it is made in, begins with a dot, an underscore or a hyphen, or is reserved somewhere; no
    two are the same on a system that takes upper for lower case or one form of an accent for another.
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
    """The signs `%` and `~` stand in a name only where this puts them, so what is different stays different."""
    pieces = [char if keep(char) else _percent(char) for char in label]
    if label[0] in " .-_" or _RESERVED.fullmatch(label):
        pieces[0] = _percent(label[0])
    if label[-1] in " .":
        pieces[-1] = _percent(label[-1])
    if sum(len(piece.encode()) for piece in pieces) <= _MAX_BYTES:
        return "".join(pieces)
    digest = hashlib.sha256(label.encode("utf-8", errors="surrogatepass")).hexdigest()[:16]
    while sum(len(piece.encode()) for piece in pieces) > _MAX_BYTES - len(digest) - 1:
        pieces.pop()
    return f"{''.join(pieces)}~{digest}"


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", errors="surrogatepass"))


def _folded(name: str) -> str:
    """The same for names that some system takes for the same; sometimes also for names that none does."""
    composed = unicodedata.normalize("NFKC", name).upper().casefold()
    return unicodedata.normalize("NFKC", composed)
