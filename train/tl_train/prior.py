"""What the class names say: the user's classes -> classes that the pretrained network knows -> a head to start from.

A network pretrained on ImageNet ends in a layer with 1000 outputs, which knows 118 kinds of dog, among others. Where
the user's class is called "dogs", the mean of those 118 rows is a better head to start from than random numbers, and
a better one to be drawn to than zero. WordNet, from which ImageNet took its classes, says what is a kind of what.
"""

import csv
import dataclasses
import functools
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tl_train.errors import ConfigError

IMAGENET_CLASSES = 1000

Rule = Literal["auto", "file"]

# In the table it follows a word in the synset that is its most frequent meaning.
_USUAL = "#1"

# Source: WordNet's own rules of detachment for nouns, morphy(7WN).
_PLURAL_ENDINGS = (
    ("s", ""),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Synset:
    """One meaning in WordNet 3.0.

    Attributes:
        wnid: `n` and its eight-digit offset, as ImageNet names its classes.
        words: what it is called, the usual name first.
        rows: the ImageNet classes (0..999) that are a kind of it, itself included, ascending.

    """

    wnid: str
    words: tuple[str, ...]
    rows: tuple[int, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.words)} ({self.wnid})"


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
            f"({_shortened(match.names)})"
            for match in self.matches
        ]

    def to_json(self) -> str:
        """The whole mapping, as prior.json holds it."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

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
        if weight.shape[:1] != (IMAGENET_CLASSES,) or bias.shape != (IMAGENET_CLASSES,):
            raise ConfigError(
                f"prior: the pretrained head has {len(bias)} outputs, expected ImageNet's {IMAGENET_CLASSES}; "
                "use --prior none"
            )
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
        return PriorFinding(None, (f"Prior: not used, the class names do not say enough. {error}",))
    return PriorFinding(prior, ("Prior from the class names:", *prior.describe()))


def look_up(word: str) -> Synset:
    """The meaning of a name, or of a WordNet id, that covers classes of ImageNet.

    Case, spaces, underscores and hyphens do not matter, plurals are understood. Of several such meanings that one is
    taken which WordNet counts as the word's most frequent ("cat" is the house cat's kind, though a lion is a cat too).

    Raises:
        ConfigError: no such meaning, or several.

    """
    table = _table()
    if word in table.synsets:
        return table.synsets[word]
    for form in _singulars(_normal(word)):
        found = [table.synsets[wnid] for wnid in table.by_word.get(form, ())]
        if len(found) > 1:
            found = [synset for synset in found if synset.wnid == table.usual.get(form)] or found
        if len({synset.rows for synset in found}) == 1:  # a kind that has only itself below it: the narrower name
            return found[-1]
        if found:
            listed = "; ".join(str(synset) for synset in found)
            raise ConfigError(f"'{word}' is ambiguous: {listed}; say which with its id in --prior FILE")
    raise ConfigError(f"'{word}' names no class of ImageNet and no group of them; say what is meant with --prior FILE")


def row_name(row: int) -> str:
    """The usual name of an ImageNet class, 0..999."""
    return _table().row_names[row]


def _from_file(path: Path, labels: Sequence[str]) -> Prior:
    try:
        entries: Mapping[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"prior {path}: cannot be read: {error.strerror or error}; expected auto, none or a TOML file"
        ) from error
    except ValueError as error:
        raise ConfigError(f"prior {path}: not valid TOML: {error}") from error
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
        raise ConfigError(f"{label}: found {entries!r}, expected a list of names, wnids or row numbers")
    synsets = [_entry(label, entry) for entry in entries]
    rows = tuple(sorted({row for synset in synsets for row in synset.rows}))
    return Match(label, tuple(str(synset) for synset in synsets), rows, tuple(row_name(row) for row in rows))


def _entry(label: str, entry: object) -> Synset:
    if isinstance(entry, str):
        return look_up(entry)
    if isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry < IMAGENET_CLASSES:
        synset = _table().synsets[_table().row_wnids[entry]]
        return dataclasses.replace(synset, rows=(entry,))
    raise ConfigError(f"{label}: found {entry!r}, expected a name, a wnid or a row number 0 to {IMAGENET_CLASSES - 1}")


# --- words ---------------------------------------------------------------------------------------------------------


def _normal(word: str) -> str:
    return " ".join(re.split(r"[\s_-]+", word.casefold().strip(" _-\t")))


def _singulars(word: str) -> Iterator[str]:
    """The word itself, then what it may be the plural of; only its last part changes."""
    yield word
    rest, space, last = word.rpartition(" ")
    yield from _table().plurals.get(word, ())
    for single in _table().plurals.get(last, ()):
        yield rest + space + single
    for ending, replacement in _PLURAL_ENDINGS:
        if last.endswith(ending) and len(last) > len(ending):
            yield rest + space + last.removesuffix(ending) + replacement


@dataclasses.dataclass(frozen=True, slots=True)
class _Table:
    """The shipped part of WordNet.

    Attributes:
        synsets: by wnid.
        by_word: wnids by normalised word, broader meanings first.
        usual: wnid of a word's most frequent meaning, where that is in the table.
        row_wnids, row_names: id and usual name of each ImageNet class.
        plurals: irregular plurals and their singulars.

    """

    synsets: Mapping[str, Synset]
    by_word: Mapping[str, Sequence[str]]
    usual: Mapping[str, str]
    row_wnids: Sequence[str]
    row_names: Sequence[str]
    plurals: Mapping[str, Sequence[str]]


@functools.cache
def _table() -> _Table:
    lines = list(_read_tsv("nouns.tsv"))
    rows_below: dict[str, set[int]] = {wnid: set() for wnid, *_ in lines}
    parents = {wnid: above.split() for wnid, _, above, *_ in lines}
    row_of = {wnid: int(row) for wnid, row, *_ in lines if row}
    for wnid, row in row_of.items():
        for reached in _upwards(wnid, parents):
            rows_below[reached].add(row)
    synsets = {
        wnid: Synset(wnid, tuple(_unmarked(word).replace("_", " ") for word in words), tuple(sorted(rows_below[wnid])))
        for wnid, _, _, *words in lines
    }
    by_word: dict[str, list[str]] = {}
    for synset in sorted(synsets.values(), key=lambda synset: (-_depth_key(synset.wnid, parents), synset.wnid)):
        for word in dict.fromkeys(_normal(word) for word in synset.words):
            by_word.setdefault(word, []).insert(0, synset.wnid)
    usual = {_normal(_unmarked(word)): wnid for wnid, _, _, *words in lines for word in words if word.endswith(_USUAL)}
    row_wnids = sorted(row_of, key=row_of.__getitem__)
    plurals = {
        _normal(plural): [_normal(single) for single in singles] for plural, *singles in _read_tsv("plurals.tsv")
    }
    return _Table(synsets, by_word, usual, row_wnids, [synsets[wnid].words[0] for wnid in row_wnids], plurals)


def _unmarked(word: str) -> str:
    return word.removesuffix(_USUAL)


def _upwards(wnid: str, parents: Mapping[str, Iterable[str]]) -> set[str]:
    """The synset and all above it; each once, however many paths lead there."""
    reached: set[str] = set()
    waiting = [wnid]
    while waiting:
        here = waiting.pop()
        if here not in reached:
            reached.add(here)
            waiting += parents[here]
    return reached


def _depth_key(wnid: str, parents: Mapping[str, Iterable[str]]) -> int:
    return len(_upwards(wnid, parents))


def _read_tsv(name: str) -> Iterator[list[str]]:
    text = (resources.files("tl_train") / "wordnet" / name).read_text(encoding="utf-8")
    return csv.reader(text.splitlines(), delimiter="\t")


def _counted(count: int, noun: str, plural: str) -> str:
    return f"{count} {noun}{'' if count == 1 else plural}"


def _shortened(names: Sequence[str], shown: int = 4) -> str:
    more = [f"and {len(names) - shown} more"] if len(names) > shown else []
    return ", ".join([*names[:shown], *more])
