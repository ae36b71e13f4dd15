"""The part of WordNet 3.0 that says what is a kind of an ImageNet class: words, their meanings, and the rows below.

The table in `tables/` is made by scripts/make_wordnet_table.py; WordNet's licence lies beside it.
"""

import csv
import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources

from tl_train.errors import ConfigError

IMAGENET_CLASSES = 1000

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


def synset_of_row(row: int) -> Synset:
    """An ImageNet class, 0..999, alone: without the others that are a kind of it."""
    table = _table()
    return dataclasses.replace(table.synsets[table.row_wnids[row]], rows=(row,))


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
    text = (resources.files("tl_train.prior") / "tables" / name).read_text(encoding="utf-8")
    return csv.reader(text.splitlines(), delimiter="\t")
