"""`tl-train --list-archs`: the architectures as a plain table."""

import dataclasses
import fnmatch
import json
from collections.abc import Iterator
from pathlib import Path

from tl_infer.errors import OutputPathError
from tl_infer.system.files import read_text, write_text
from tl_train.downloads import cache_folder
from tl_train.errors import ConfigError
from tl_train.models.architectures import ARCHITECTURES, Architecture, find_architecture
from tl_train.models.timm_models import TIMM_PREFIX, timm_configuration, timm_licence, timm_source

LICENCES = (
    "Licences are those that the publishers of the weights name; the images they were trained on may bring terms "
    "of their own."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: as `Architecture`, all for reading."""

    name: str
    size: str
    source: str
    licence: str

    @staticmethod
    def of(architecture: Architecture) -> "Row":
        """The row of an architecture of the table."""
        return Row(architecture.name, f"{architecture.size}", architecture.source, architecture.licence)


class TimmParameters:
    """How many parameters timm's models have; counting takes 0.1 to 2 s each, so it is kept per timm release."""

    def __init__(self) -> None:
        import timm

        self._path = cache_folder() / f"timm-{timm.__version__}-parameters.json"
        self._counts = _read_counts(self._path)
        self._changed = False

    def count(self, timm_name: str) -> int | None:
        """Parameters with the original head; None for a model that cannot be fine-tuned here."""
        if timm_name not in self._counts:
            try:
                self._counts[timm_name] = find_architecture(TIMM_PREFIX + timm_name).parameters
            except ConfigError:
                self._counts[timm_name] = None
            self._changed = True
        return self._counts[timm_name]

    def save(self) -> None:
        """Keep what was counted, where that is possible; without it the next listing counts again."""
        if not self._changed:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._path, json.dumps(self._counts, indent=0, sort_keys=True))
        except (OSError, OutputPathError):
            return


def architecture_lines(pattern: str) -> Iterator[str]:
    """The table's lines, each as soon as it is known.

    Args:
        pattern: part of the names to show, or a pattern with `*` and `?`; "" for the table without timm's models.

    Raises:
        ConfigError: no name matches.

    """
    rows = [Row.of(architecture) for name, architecture in ARCHITECTURES.items() if _matches(name, pattern)]
    timm_rows = _timm_rows(pattern) if pattern else []
    if not rows and not timm_rows:
        raise ConfigError(
            f"--list-archs: no architecture has '{pattern}' in its name; expected e.g. resnet or timm:*_tiny*"
        )
    layout = _Layout([*rows, *timm_rows])
    yield layout.header()
    for row in rows:
        yield layout.line(row, ARCHITECTURES[row.name].parameters)
    if timm_rows:
        yield from _timm_lines(timm_rows, layout)


def timm_count_line() -> str:
    """How many models timm has besides, and how to see them."""
    import timm

    return (
        f"timm {timm.__version__} has {len(timm.list_models())} models more, as {TIMM_PREFIX}NAME: "
        "--list-archs resnet, --list-archs 'timm:*_tiny*'."
    )


def _timm_rows(pattern: str) -> list[Row]:
    import timm

    rows = []
    for timm_name in timm.list_models():
        if not _matches(TIMM_PREFIX + timm_name, pattern):
            continue
        try:
            config = timm_configuration(timm_name)
        except ConfigError:
            continue
        source = timm_source(config)
        licence = "-" if source == "none" else timm_licence(config) or "not stated"
        rows.append(Row(TIMM_PREFIX + timm_name, f"{config.input_size[1]}", source, licence))
    return rows


def _timm_lines(rows: list[Row], layout: "_Layout") -> Iterator[str]:
    parameters = TimmParameters()
    try:
        for row in rows:
            count = parameters.count(row.name.removeprefix(TIMM_PREFIX))
            if count is not None:
                yield layout.line(row, count)
    finally:  # after Ctrl-C too
        parameters.save()


class _Layout:
    """Columns as wide as their widest cell."""

    def __init__(self, rows: list[Row]) -> None:
        self._name = max(len(row.name) for row in rows)
        self._licence = max(len("licence"), *(len(row.licence) for row in rows))

    def header(self) -> str:
        return self._join("name", "parameters", "size", "licence", "weights")

    def line(self, row: Row, parameters: int) -> str:
        return self._join(row.name, f"{parameters:,}", row.size, row.licence, row.source)

    def _join(self, name: str, parameters: str, size: str, licence: str, source: str) -> str:
        return f"{name:<{self._name}}  {parameters:>13}  {size:>4}  {licence:<{self._licence}}  {source}"


def _matches(name: str, pattern: str) -> bool:
    wild = pattern if any(char in pattern for char in "*?[") else f"*{pattern}*"
    return fnmatch.fnmatchcase(name, wild.lower())


def _read_counts(path: Path) -> dict[str, int | None]:
    """What an earlier listing counted; nothing where the file is absent or not as written."""
    try:
        counts = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    fits = isinstance(counts, dict) and all(count is None or type(count) is int for count in counts.values())
    return counts if fits else {}
