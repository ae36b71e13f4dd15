"""What a field of the configuration carries beside its value: its name for users, its help text, how it is checked."""

import dataclasses
import types
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

from tl_infer.model.records import read_value
from tl_infer.text.safetext import is_unicode
from tl_train.errors import ConfigError

_KEY = "tl_train.option"
_LARGEST = 2**63  # Source: TOML 1.0, Integer: 64-bit signed


@dataclasses.dataclass(frozen=True, slots=True)
class _About:
    """What `option` attaches to a field; see there."""

    help: str
    name: str
    metavar: str
    shown: str | None
    on_command_line: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One field of a group, as recipes, config.toml and the command line see it.

    Attributes:
        name: flat name, as in a recipe; the command line has hyphens in it.
        attribute: the field's name in its group.
        hint: the field's type.
        kind: makes a value of a text: `str`, `int`, `float` or `bool`, or for `int | str` a function.
        choices: the values of a Literal; empty where any value of the type may be given.
        default: the field's default; `dataclasses.MISSING` where there is none.
        help: one or two sentences.
        metavar: placeholder in the help; "" for the type's own.
        shown: the default in words; None where `default` says it.
        on_command_line: whether the program has the option.

    """

    name: str
    attribute: str
    hint: Any
    kind: Callable[[str], Any]
    choices: tuple[str, ...]
    default: Any
    help: str
    metavar: str
    shown: str | None
    on_command_line: bool


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,  # noqa: A002 - the word that click and argparse use
    name: str = "",
    metavar: str = "",
    shown: str | None = None,
    on_command_line: bool = True,
) -> Any:
    """A dataclass field with its documentation.

    Args:
        default: the value when none is given; required without one.
        help: what the option does, for `--help` and for readers of the group.
        name: flat name where it differs from the field's.
        metavar: placeholder for the value in `--help`.
        shown: the default in words, where the value does not speak for itself.
        on_command_line: whether `tl-train` has it; otherwise only recipes and Python do.

    """
    return dataclasses.field(default=default, metadata={_KEY: _About(help, name, metavar, shown, on_command_line)})


def options_of(group: type) -> Iterator[Option]:
    """The options of one group, in the order of its fields; fields that are no options are passed over."""
    hints = get_type_hints(group)
    for field in dataclasses.fields(group):
        if _KEY not in field.metadata:
            continue
        about: _About = field.metadata[_KEY]
        kinds = [kind for kind in _alternatives(hints[field.name]) if kind is not types.NoneType]
        kind = kinds[0] if len(kinds) == 1 else _number_or_text
        is_literal = get_origin(kind) is Literal
        yield Option(
            name=about.name or field.name,
            attribute=field.name,
            hint=hints[field.name],
            kind=str if is_literal else kind,
            choices=get_args(kind) if is_literal else (),
            default=field.default,
            help=about.help,
            metavar=about.metavar,
            shown=about.shown,
            on_command_line=about.on_command_line,
        )


def check_types(group: Any) -> None:
    """Every option of a group has a value of its type, and one that config.toml can hold.

    Whole numbers may stand where floats do.

    Raises:
        ConfigError: one has not; names the option and what is expected.

    """
    for found in options_of(type(group)):
        value = getattr(group, found.attribute)
        read_value(found.hint, value, found.name, ConfigError)
        if isinstance(value, int):
            check(-_LARGEST <= value < _LARGEST, found.name, value, "a number of at most 64 bits")
        if isinstance(value, str) and not is_unicode(value):
            raise ConfigError(f"{found.name}: found {value!r}, expected a name in UTF-8; rename the file or folder")


def check(holds: bool, name: str, found: object, expected: str) -> None:
    """Raise a ConfigError that names the option, unless the condition holds."""
    if not holds:
        raise ConfigError(f"{name}: found {found}, expected {expected}")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _number_or_text(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() else text
