"""Make `train/tl_train/wordnet/`: the 1000 ImageNet classes and what WordNet 3.0 says they are.

Run it from the repository's root, with the folder of WordNet 3.0's noun files (Debian and Ubuntu:
`apt-get install wordnet-base`, then /usr/share/wordnet) and with timm installed, which knows the order of the classes:

    python scripts/make_wordnet_table.py /usr/share/wordnet
"""

import csv
import dataclasses
import io
import sys
from pathlib import Path

from timm.data import ImageNetInfo

from tl_infer.system.files import write_text

TARGET = Path("train/tl_train/wordnet")
HYPERNYMS = ("@", "@i")  # "is a" and "is an instance of"
USUAL = "#1"  # follows a word in the synset that is its most frequent meaning
LICENCE_LINES = 29  # every WordNet file begins with its licence, each line numbered


@dataclasses.dataclass(frozen=True, slots=True)
class Noun:
    """One synset: its words and the offsets of what it is a kind of."""

    words: tuple[str, ...]
    parents: tuple[str, ...]


def main(folder: Path) -> None:
    """Write the table, the irregular plurals of its words, and the licence."""
    lines = (folder / "data.noun").read_text(encoding="ascii").splitlines()
    nouns = dict(parse(line) for line in lines[LICENCE_LINES:])
    rows = {wnid: row for row, wnid in enumerate(ImageNetInfo().label_names())}
    kept = with_ancestors(nouns, [wnid[1:] for wnid in rows])
    usual = dict(
        usual_meaning(line) for line in (folder / "index.noun").read_text(encoding="ascii").splitlines()[LICENCE_LINES:]
    )
    table = [
        (
            f"n{offset}",
            rows.get(f"n{offset}", ""),
            " ".join(f"n{p}" for p in noun.parents),
            *marked(offset, noun.words, usual),
        )
        for offset, noun in sorted(kept.items())
    ]
    words = {word.casefold() for noun in kept.values() for word in noun.words}
    plurals = [line.split() for line in (folder / "noun.exc").read_text(encoding="ascii").splitlines()]
    irregular = [(plural, *(s for s in singulars if s in words)) for plural, *singulars in plurals]
    TARGET.mkdir(exist_ok=True)
    write_text(TARGET / "nouns.tsv", tsv(table))
    write_text(TARGET / "plurals.tsv", tsv([row for row in irregular if len(row) > 1]))
    licence = [line.strip().partition(" ")[2] for line in lines[:LICENCE_LINES]]
    write_text(TARGET / "LICENSE", "\n".join(licence).strip() + "\n")
    sys.stdout.write(f"{len(rows)} classes, {len(kept) - len(rows)} ancestors\n")


def parse(line: str) -> tuple[str, Noun]:
    """A line of data.noun: offset, file, kind, words (count in hex), pointers (count), a bar, the gloss.

    Source: wndb(5WN), "Data File Format".
    """
    fields = line.split(" | ")[0].split()
    count = int(fields[3], 16)
    pointers = fields[4 + 2 * count :]
    steps = range(1, 1 + 4 * int(pointers[0]), 4)
    parents = tuple(pointers[i + 1] for i in steps if pointers[i] in HYPERNYMS)
    return fields[0], Noun(tuple(fields[4 : 4 + 2 * count : 2]), parents)


def usual_meaning(line: str) -> tuple[str, str]:
    """A line of index.noun: the word, and the offset of its most frequent meaning, which is listed first.

    Source: wndb(5WN), "Index File Format".
    """
    fields = line.split()
    return fields[0], fields[-int(fields[2])]


def marked(offset: str, words: tuple[str, ...], usual: dict[str, str]) -> list[str]:
    """The words; a mark follows those of which this is the most frequent meaning."""
    return [word + USUAL if usual[word.casefold()] == offset else word for word in words]


def with_ancestors(nouns: dict[str, Noun], offsets: list[str]) -> dict[str, Noun]:
    """The synsets at these offsets and everything above them."""
    kept: dict[str, Noun] = {}
    waiting = list(offsets)
    while waiting:
        offset = waiting.pop()
        if offset not in kept:
            kept[offset] = nouns[offset]
            waiting += nouns[offset].parents
    return kept


def tsv(rows: list[tuple[object, ...]]) -> str:
    """Rows as tab-separated lines."""
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
