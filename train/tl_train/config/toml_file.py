"""TOML that a user wrote: whatever is in the file, one line says what is wrong with it."""

import tomllib
from pathlib import Path
from typing import Any

from tl_infer.errors import first_line
from tl_infer.system.files import read_text
from tl_train.errors import ConfigError

_LARGEST = 2**63  # Source: TOML 1.0, Integer: 64-bit signed


def read_toml(path: Path, where: str, expected: str) -> dict[str, Any]:
    """The content of a TOML file.

    Args:
        path: of the file.
        where: what to call it in messages.
        expected: what the file should be.

    Raises:
        ConfigError: it cannot be read, or as `parse_toml`.

    """
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: cannot be read: {first_line(error)}; expected {expected}") from error
    return parse_toml(text, where)


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """What TOML text says.

    Raises:
        ConfigError: not valid TOML, nested too deeply, or an integer of more than 64 bits.

    """
    try:
        document = tomllib.loads(text)
        _check_integers(document)
    except RecursionError as error:
        raise ConfigError(f"{where}: not valid TOML here: nested too deeply") from error
    except ValueError as error:
        raise ConfigError(f"{where}: not valid TOML: {first_line(error)}") from error
    return document


def _check_integers(value: object) -> None:
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        raise ValueError(f"an integer of {value.bit_length()} bits, expected at most 64")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_integers(item)
