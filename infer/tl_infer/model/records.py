"""Plain values, as JSON and TOML give them, read into frozen dataclasses whose type hints are the schema."""

import base64
import dataclasses
import json
import math
import re
import reprlib
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tl_infer.errors import ModelFileError
from tl_infer.text.safetext import is_unicode

Record = TypeVar("Record")

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SINCE = "tl_infer.since"
_ANY = 1  # documents that are no metadata have no versions


def since(version: int, default: object = None) -> Any:
    """A dataclass field that documents before that version do not have; later ones need not where it is the default."""
    return dataclasses.field(default=default, metadata={_SINCE: version})


def version_of(record: Any) -> int:
    """The lowest version of a document that has room for all of the record's values."""
    if isinstance(record, tuple):
        return max(map(version_of, record), default=1)
    if not dataclasses.is_dataclass(record):
        return 1
    values = [(field.metadata[_SINCE] if _is_said(field, record) else 1, getattr(record, field.name))
              for field in dataclasses.fields(record)]  # fmt: skip
    return max((max(first, version_of(value)) for first, value in values), default=1)


def plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as JSON has them, without what fields of later versions have by default."""
    if dataclasses.is_dataclass(value):
        fields = [
            field for field in dataclasses.fields(value) if _SINCE not in field.metadata or _is_said(field, value)
        ]
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return dict(value) if isinstance(value, Mapping) else value


def _is_said(field: Any, record: Any) -> bool:
    """Whether a field of a later version has another value than its default."""
    return _SINCE in field.metadata and getattr(record, field.name) != field.default


def to_metadata(record: Any) -> str:
    """The text of a metadata entry, as `read_metadata` reads it; the same record always gives the same text."""
    document = {"version": version_of(record), **plain(record)}
    return json.dumps(document, ensure_ascii=False, sort_keys=True, allow_nan=False)


def read(kind: type[Record], value: object, error: Callable[[str], Exception]) -> Record:
    """A dataclass from a document that has all its fields, each with a value of the type that the field declares.

    A field's type is one of `bool`, `int`, `str`, `float` (finite; an integer may stand for it), `bytes` (base64 in the
    document), `Literal`, `tuple`, `Mapping[str, ...]`, another dataclass, or a union of these and None. Nothing else is
    converted.

    Args:
        kind: the dataclass; its `__post_init__` raises ValueError, with a message that begins with the field.
        value: as `json.loads` or `tomllib.loads` gives it.
        error: makes an exception of a message such as `preprocess.size[0]: found 1.5, expected an integer`.

    Raises:
        Exception: made by `error`: a field is missing, unknown, of the wrong type or out of range.

    """
    try:
        record: Record = _read_record(kind, value, "", _ANY)
    except ValueError as problem:
        raise error(str(problem)) from problem
    return record


def read_value(hint: Any, value: object, name: str, error: Callable[[str], Exception]) -> Any:
    """One value of the type `hint`, as `read` reads a field; messages begin with `name`.

    Raises:
        Exception: made by `error`: the value has another type.

    """
    try:
        return _read(hint, value, name, _ANY)
    except ValueError as problem:
        raise error(str(problem)) from problem


def read_metadata(kind: type[Record], text: str, key: str, newest: int) -> Record:
    """A dataclass from a metadata entry of a model file: a JSON object with `version`, 1 to `newest`, and its fields.

    Fields made by `since` are unknown to earlier versions and may be absent from later ones; all others are there.

    Raises:
        ModelFileError: not JSON, a field twice, another version, or as for `read`.

    """
    try:
        return _read_document(kind, text, key, newest)
    except RecursionError as error:
        raise ModelFileError(f"{key}: not valid JSON: nested too deep") from error


def _read_document(kind: type[Record], text: str, key: str, newest: int) -> Record:
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ModelFileError(f"{key}: not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise ModelFileError(f"{key}: found {brief(document)}, expected an object")
    if _SURROGATE.search(text) and not is_unicode(json.dumps(document, ensure_ascii=False)):
        raise ModelFileError(f"{key}: found half of a surrogate pair, expected Unicode text")
    version = document.pop("version", None)
    known = range(1, newest + 1)
    if type(version) is not int or version not in known:
        raise ModelFileError(
            f"{key}: version: found {brief(version)}, expected {' or '.join(map(str, known))}; install the tl-toolkit "
            "release that made the file, or export it again with tl-export"
        )
    try:
        record: Record = _read_record(kind, document, "", version)
    except ValueError as problem:
        remedy = "update tl-toolkit, or export the model again with tl-export"
        raise ModelFileError(f"{key}: {problem}; {remedy}") from problem
    return record


def brief(value: object) -> str:
    """The value as Python writes it, on one line, shortened where it is long or deep."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 60
    return short.repr(value)


def _read(hint: Any, value: Any, path: str, version: int) -> Any:
    if hint in _SCALARS:
        return _SCALARS[hint](value, path)
    if dataclasses.is_dataclass(hint):
        return _read_record(hint, value, path, version)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        known = any(type(value) is type(choice) and value == choice for choice in arguments)
        return _check(known, path, value, " or ".join(map(str, arguments)))
    if origin is tuple:
        return _read_tuple(arguments, value, path, version)
    if origin is Mapping:
        _check(isinstance(value, dict), path, value, "an object")
        return {key: _read(arguments[1], item, f"{path}[{brief(key)}]", version) for key, item in value.items()}
    if origin in (Union, types.UnionType):
        return _read_union(arguments, value, path, version)
    raise TypeError(f"{path}: there is no rule for reading {hint}")


def _read_union(hints: tuple[Any, ...], value: Any, path: str, version: int) -> Any:
    """The first of the types that the value has; None is not named among those expected."""
    if value is None and types.NoneType in hints:
        return None
    expected = []
    for hint in hints:
        if hint is not types.NoneType:
            try:
                return _read(hint, value, path, version)
            except ValueError as problem:
                if len(hints) - (types.NoneType in hints) == 1:
                    raise
                expected.append(str(problem).rpartition(", expected ")[2])
    return _check(False, path, value, " or ".join(expected))


def _read_record(kind: Any, value: Any, path: str, version: int) -> Any:
    _check(isinstance(value, dict), path, value, "an object")
    hints = get_type_hints(kind)
    fields = [field for field in dataclasses.fields(kind) if field.metadata.get(_SINCE, 1) <= version]
    names = sorted(field.name for field in fields)
    prefix = f"{path}." if path else ""
    if missing := sorted({field.name for field in fields if _SINCE not in field.metadata} - value.keys()):
        raise ValueError(f"{prefix}{missing[0]}: the field is missing")
    if unknown := sorted(value.keys() - names):
        raise ValueError(f"{prefix}{brief(unknown[0])}: unknown field, expected one of {', '.join(names)}")
    values = {name: _read(hints[name], item, prefix + name, version) for name, item in value.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from error


def _read_tuple(hints: tuple[Any, ...], value: Any, path: str, version: int) -> tuple[Any, ...]:
    _check(isinstance(value, list), path, value, "a list")
    if hints[-1] is ...:
        hints = hints[:1] * len(value)
    _check(len(hints) == len(value), path, value, f"{len(hints)} values")
    pairs = enumerate(zip(hints, value, strict=True))
    return tuple(_read(hint, item, f"{path}[{i}]", version) for i, (hint, item) in pairs)


def _exactly(kind: type, name: str) -> Callable[[Any, str], Any]:
    return lambda value, path: _check(type(value) is kind, path, value, name)  # to Python a bool is an int too


def _read_float(value: Any, path: str) -> float:
    _check(type(value) in (int, float), path, value, "a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    _check(math.isfinite(number), path, value, "a finite number")
    return number


def _read_bytes(value: Any, path: str) -> bytes:
    _check(type(value) is str, path, value, "base64")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise ValueError(f"{path}: found {brief(value)}, expected base64") from error


_SCALARS: dict[Any, Callable[[Any, str], Any]] = {
    bool: _exactly(bool, "true or false"),
    int: _exactly(int, "an integer"),
    float: _read_float,
    str: _exactly(str, "a string"),
    bytes: _read_bytes,
}


def _check(holds: bool, path: str, value: Any, expected: str) -> Any:
    if not holds:
        raise ValueError(f"{path}: found {brief(value)}, expected {expected}".removeprefix(": "))
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is there twice")
    return fields


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")
