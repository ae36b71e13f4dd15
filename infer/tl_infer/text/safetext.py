"""Text from strangers, such as file names and labels, made safe for a terminal, a spreadsheet and a JSON file."""

import json
import re
import unicodedata
from collections.abc import Mapping

# What a spreadsheet takes for a formula, full-width forms included. Some skip a tab or a line break at the front and
# then see what follows. Source: OWASP, CSV Injection.
_FORMULA = "=+\\-@\uff1d\uff0b\uff0d\uff20\t\r\n"
# A cell can also begin inside one of our cells: if the system's list separator is the semicolon, a spreadsheet splits
# there, quoted or not.
_BLANKS = r"[^\S\t\r\n]*"
# Compiled when first used: compiling all three would add some milliseconds to every start.
_UNSAFE = rf"((?:^|;){_BLANKS})('*[{_FORMULA}])"
_SAFE = rf"((?:^|;){_BLANKS})'('*[{_FORMULA}])"
_NOT_ASCII = "[\x7f-\U0010ffff]"
# Invisible, but Persian, Hindi and many emoji need them.
_JOINERS = "\u200c\u200d"


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold it: bytes of a file name that are not UTF-8, and halves of surrogate pairs, it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    r"""`text` with control characters escaped: a file name must not control the terminal.

    Everything that does not print is written as in Python's strings (`\x1b`, `\n`, `\u202e`), bytes of a file name
    that are not UTF-8 as `\udcff`. The result is valid Unicode on one line.
    """
    shown = "".join(char if _prints(char) else char.encode("unicode_escape").decode() for char in text)
    return shown.encode("utf-8", errors="backslashreplace").decode()


def spreadsheet_text(text: str) -> str:
    """`text` for a cell that no spreadsheet takes for a formula.

    An apostrophe goes before `=`, `+`, `-`, `@`, a tab or a line break at the start of the cell, blanks aside, or
    after a semicolon. `plain_text` removes it again.
    """
    return re.sub(_UNSAFE, r"\1'\2", text)


def plain_text(cell: str) -> str:
    """The text that `spreadsheet_text` made a cell of."""
    return re.sub(_SAFE, r"\1\2", cell)


def spreadsheet_path(path: str) -> str:
    """A relative path for the first cell of a row: `./` before what would be a formula, so that it remains a path."""
    return f"./{path}" if re.match(_UNSAFE, path) else path


def json_line(values: Mapping[str, object]) -> str:
    r"""A JSON object on one line, its newline included; reading it gives back exactly these values.

    Letters of all languages are written as they are; what does not print, and bytes of a file name that are not UTF-8,
    as `\u` escapes.
    """
    return re.sub(_NOT_ASCII, _json_escape, json.dumps(values, ensure_ascii=False)) + "\n"


def _json_escape(found: re.Match[str]) -> str:
    return found[0] if _prints(found[0]) else json.dumps(found[0])[1:-1]


def _prints(char: str) -> bool:
    return char.isprintable() or char in _JOINERS or unicodedata.category(char) == "Zs"
