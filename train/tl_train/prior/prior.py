"""What the class names say: the user's classes -> classes that the pretrained network knows -> a head to start from.

A network pretrained on ImageNet ends in a layer with 1000 outputs, which knows 118 kinds of dog, among others. Where
the user's class is called "dogs", the mean of those 118 rows is a better head to start from than random numbers, and
a better one to be drawn to than zero. WordNet, from which ImageNet took its classes, says what is a kind of what.
"""

import dataclasses
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tl_infer.errors import and_more
from tl_infer.model.records import brief
from tl_train.config.toml_file import read_toml
from tl_train.errors import ConfigError
from tl_train.prior.wordnet import IMAGENET_CLASSES, Synset, look_up, row_name, synset_of_row

Rule = Literal["auto", "file"]

_NAMES_SHOWN = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Match:
    """What one of the user's classes stands for.

    Attributes:
        label: the class.
        meanings: names and ids in WordNet, one per entry that was matched.
        rows: the ImageNet classes (0..999) it covers, ascending.
        names: the usual names of these rows.

    """

    label: str
    meanings: tuple[str, ...]
    rows: tuple[int, ...]
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Prior:
    """ImageNet classes for every class of the user, none claimed twice.

    Attributes:
        rule: `auto` (by name) or `file` (given).
        matches: one per class, in the order of the labels.

    Raises:
        ConfigError: no class at all, a class without rows, or a row that two classes claim.

    """

    rule: Rule
    matches: tuple[Match, ...]

    def __post_init__(self) -> None:
        if not self.matches:
            raise ConfigError("prior: no classes; expected an entry per class")
        owner: dict[int, str] = {}
        for match in self.matches:
            if not match.rows:
                raise ConfigError(f"class '{match.label}': no ImageNet class; expected at least one")
            for row, name in zip(match.rows, match.names, strict=True):
                if row in owner:
                    raise ConfigError(
                        f"ImageNet class {row} ({name}) is claimed by '{owner[row]}' and by '{match.label}'; "
                        "expected one class for each"
                    )
                owner[row] = match.label

    def describe(self) -> list[str]:
        """A line per class, for people."""
        return [
            f"{match.label}: {'; '.join(match.meanings)}, {_counted(len(match.rows), 'ImageNet class', 'es')} "
            f"({and_more(match.names, _NAMES_SHOWN)})"
            for match in self.matches
        ]

    def to_json(self) -> str:
        """The whole mapping, as prior.json holds it."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    def check_head(self, pretrained: tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]) -> None:
        """Say early that a pretrained head, weight (K, D) and bias (K,), is not one of ImageNet's 1000 classes.

        Raises:
            ConfigError: it has other outputs.

        """
        weight, bias = pretrained
        if weight.shape[:1] != (IMAGENET_CLASSES,) or bias.shape != (IMAGENET_CLASSES,):
            raise ConfigError(
                f"prior: the pretrained head has {len(bias)} outputs, expected ImageNet's {IMAGENET_CLASSES}; "
                "use --prior none"
            )

    def head(
        self, weight: npt.NDArray[np.floating], bias: npt.NDArray[np.floating]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The head that the names suggest: per class the mean of its rows.

        Args:
            weight: of the pretrained head, (1000, D).
            bias: of the pretrained head, (1000,).

        Returns:
            float64 (C, D) and (C,).

        Raises:
            ConfigError: the head has other outputs than ImageNet's 1000 classes.

        """
        self.check_head((weight, bias))
        rows = [list(match.rows) for match in self.matches]
        weights = np.stack([weight[r].mean(axis=0, dtype=np.float64) for r in rows])
        return weights, np.array([bias[r].mean(dtype=np.float64) for r in rows])


@dataclasses.dataclass(frozen=True, slots=True)
class PriorFinding:
    """The outcome of looking for a prior.

    Attributes:
        prior: None when there is none to use.
        notes: lines for people: the mapping, or why there is none.

    """

    prior: Prior | None
    notes: tuple[str, ...]


def find_prior(given: str, labels: Sequence[str]) -> PriorFinding:
    """What `--prior` asks for.

    Args:
        given: `auto` (by the class names; a finding without a prior when they do not say enough), `none`, or the path
            of a TOML file with `class = [names, wnids or row numbers]` for every class.
        labels: class names.

    Raises:
        ConfigError: the file cannot be read, lacks a class, or an entry is unknown, ambiguous or claimed twice.

    """
    if given == "none":
        return PriorFinding(None, ())
    if given != "auto":
        prior = _from_file(Path(given), labels)
        return PriorFinding(prior, (f"Prior from {given}:", *prior.describe()))
    try:
        prior = Prior("auto", tuple(_match(label, [label]) for label in labels))
    except ConfigError as error:
        return PriorFinding(None, (f"Prior: not used, so the head is pulled towards zero: {error}",))
    return PriorFinding(prior, ("Prior from the class names:", *prior.describe()))


def _from_file(path: Path, labels: Sequence[str]) -> Prior:
    entries: dict[str, object] = {}
    for name, found in read_toml(path, f"prior {path}", "auto, none or a TOML file").items():
        label = unicodedata.normalize("NFC", name)  # as the labels are
        if label in entries:
            raise ConfigError(f"prior {path}: class '{label}' is there twice, composed and decomposed; expected once")
        entries[label] = found
    if missing := [label for label in labels if label not in entries]:
        raise ConfigError(f"prior {path}: no entry for the class '{missing[0]}'; expected one for each class")
    if unknown := [name for name in entries if name not in labels]:
        raise ConfigError(f"prior {path}: '{unknown[0]}' is no class; the classes are {', '.join(labels)}")
    try:
        return Prior("file", tuple(_match(label, entries[label]) for label in labels))
    except ConfigError as error:
        raise ConfigError(f"prior {path}: {error}") from error


def _match(label: str, entries: object) -> Match:
    """The ImageNet classes that all entries of one class cover."""
    if not isinstance(entries, list):
        raise ConfigError(f"{label}: found {brief(entries)}, expected a list of names, wnids or row numbers")
    synsets = [_entry(label, entry) for entry in entries]
    rows = tuple(sorted({row for synset in synsets for row in synset.rows}))
    return Match(label, tuple(str(synset) for synset in synsets), rows, tuple(row_name(row) for row in rows))


def _entry(label: str, entry: object) -> Synset:
    if isinstance(entry, str):
        return look_up(entry)
    if isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry < IMAGENET_CLASSES:
        return synset_of_row(entry)
    expected = f"a name, a wnid or a row number 0 to {IMAGENET_CLASSES - 1}"
    raise ConfigError(f"{label}: found {brief(entry)}, expected {expected}")


def _counted(count: int, noun: str, plural: str) -> str:
    return f"{count} {noun}{'' if count == 1 else plural}"
