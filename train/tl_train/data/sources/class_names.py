"""Names of classes: compared in Unicode's NFC; names that look alike, and what tells them apart.

macOS writes `é` as a letter and a combining accent (NFD), other systems as one character (NFC). The two look the same
and are the same class.
"""

import difflib
import unicodedata
from collections.abc import Sequence

# Small letters of other alphabets that look like Latin ones, or whose capitals do.
_CYRILLIC = {"a": 0x430, "b": 0x432, "e": 0x435, "k": 0x43A, "m": 0x43C, "h": 0x43D, "o": 0x43E, "p": 0x440, "c": 0x441,
             "t": 0x442, "y": 0x443, "x": 0x445, "s": 0x455, "i": 0x456, "j": 0x458, "d": 0x501}  # fmt: skip
_GREEK = {"a": 0x3B1, "b": 0x3B2, "e": 0x3B5, "i": 0x3B9, "k": 0x3BA, "o": 0x3BF, "p": 0x3C1, "t": 0x3C4, "x": 0x3C7}
_LATIN = {code: letter for table in (_CYRILLIC, _GREEK) for letter, code in table.items()}
_MOST_SHOWN = 3


def normal_name(name: str) -> str:
    """The name in NFC, by which classes are compared and called."""
    return unicodedata.normalize("NFC", name)


def appearance(name: str) -> str:
    """What is the same for names that look the same, or differ only in case or spaces."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    visible = "".join(char for char in folded if unicodedata.category(char) != "Cf")
    return " ".join(visible.translate(_LATIN).split())


def differ_only_in_case_or_spaces(first: str, second: str) -> bool:
    """Whether a reader sees the difference at a second look, if at all."""
    return " ".join(first.casefold().split()) == " ".join(second.casefold().split())


def difference(first: str, second: str) -> str:
    """The characters in which two names differ, by code point: `U+00E9 ... here, U+0065 ... there`."""
    start = 0
    while start < min(len(first), len(second)) and first[start] == second[start]:
        start += 1
    end = 0
    while end < min(len(first), len(second)) - start and first[-1 - end] == second[-1 - end]:
        end += 1
    parts = (name[start : len(name) - end] for name in (first, second))
    return f"{' against '.join(map(_code_points, parts))}, at character {start + 1}"


def unknown_class(name: str, known: Sequence[str]) -> str:
    """What to say of a class that is not among the known ones: which of them it looks like; "" where like none."""
    for other in known:
        if appearance(other) == appearance(name):
            return f"; it looks like '{other}', but has {difference(name, other)}"
    near = difflib.get_close_matches(name, known, n=1)
    return f"; is it '{near[0]}'?" if near else ""


def _code_points(text: str) -> str:
    shown = [f"U+{ord(char):04X} {unicodedata.name(char, '')}".strip() for char in text[:_MOST_SHOWN]]
    return " ".join([*shown, *(["..."] if len(text) > _MOST_SHOWN else [])]) or "nothing"
