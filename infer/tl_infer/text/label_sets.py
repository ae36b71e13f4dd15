"""The labels of an image in one cell: `cat|dog`; a bar or backslash in a name has a backslash before it."""

import re
from collections.abc import Sequence

_SEPARATOR = "|"
_SPECIAL = re.compile(r"([\\|])")
_NAME = re.compile(r"(?:[^\\|]|\\.)+", re.DOTALL)


def joined(labels: Sequence[str]) -> str:
    """The labels as one text; "" for none."""
    return _SEPARATOR.join(_SPECIAL.sub(r"\\\1", label) for label in labels)


def split(text: str) -> tuple[str, ...]:
    """The labels that `joined` put into a text."""
    return tuple(re.sub(r"\\(.)", r"\1", name, flags=re.DOTALL) for name in _NAME.findall(text))
