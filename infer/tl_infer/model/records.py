"""Reading JSON from strangers: one function per type, strict, and every message names the field.

A reader takes a value and where it stands (`tl.spec: field 'labels'`) and gives the checked value.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from tl_infer.errors import ModelFileError

Reader = Callable[[Any, str], Any]


def parse_document(text: str, where: str, version: int) -> dict[str, Any]:
    """The object in `text` without its field `version`, which has been checked.

    Raises:
        ModelFileError: not JSON, not an object, a field twice, or another version.

    """
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{where}: is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise ModelFileError(f"{where}: found {_kind(document)}, expected an object")
    found = document.pop("version", None)
    if found != version or isinstance(found, bool):
        raise ModelFileError(
            f"{where}: field 'version' is {brief(found)}, this tl-toolkit reads {version}; "
            "install the release that made the file, or export it again with tl-export"
        )
    return document


def of(kind: type, name: str) -> Reader:
    """A reader of one JSON type; `name` is what messages call it."""

    def read(value: Any, where: str) -> Any:
        # bool is an int in Python, not in JSON.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ModelFileError(f"{where}: found {_kind(value)} ({brief(value)}), expected {name}")
        return value

    return read


def number(value: Any, where: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ModelFileError(f"{where}: found {_kind(value)} ({brief(value)}), expected a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ModelFileError(f"{where}: found {brief(value)}, expected a finite number")
    return number


def optional(read: Reader) -> Reader:
    """Null, or what `read` takes."""
    return lambda value, where: None if value is None else read(value, where)


def tuple_of(read: Reader) -> Reader:
    """A list of what `read` takes, as a tuple."""

    def read_items(value: Any, where: str) -> tuple[Any, ...]:
        items = of(list, "a list")(value, where)
        return tuple(read(item, f"{where}[{i}]") for i, item in enumerate(items))

    return read_items


def mapping_of(read: Reader) -> Reader:
    """An object of any keys, each value what `read` takes."""

    def read_items(value: Any, where: str) -> Mapping[str, Any]:
        items = of(dict, "an object")(value, where)
        return {key: read(item, f"{where}[{brief(key)}]") for key, item in items.items()}

    return read_items


def object_of(kind: type, fields: Mapping[str, Reader]) -> Reader:
    """An object with exactly these fields, as `kind`."""
    return lambda value, where: build(kind, fields, of(dict, "an object")(value, where), where)


def build(kind: type, fields: Mapping[str, Reader], document: dict[str, Any], where: str) -> Any:
    """`kind` from an object with exactly these fields.

    Raises:
        ModelFileError: a field is missing, unknown, of the wrong type or out of `kind`'s range.

    """
    if missing := sorted(fields.keys() - document.keys()):
        raise ModelFileError(f"{where}: field '{missing[0]}' is missing; export the model again with tl-export")
    if unknown := sorted(document.keys() - fields.keys()):
        raise ModelFileError(
            f"{where}: unknown field {brief(unknown[0])}; update tl-toolkit, or export the model again"
        )
    values = {name: read(document[name], f"{where}: field '{name}'") for name, read in fields.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ModelFileError(f"{where}: field {error}") from error


def brief(value: object, limit: int = 60) -> str:
    """The value as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true/false", type(None): "null"}
    return names.get(type(value), "a number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is there twice")
    return fields


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


text = of(str, "a text")
integer = of(int, "a whole number")
