"""The parts of a data set, and the words by which folders and lists name them."""

import unicodedata
from collections.abc import Iterable, Mapping

from tl_train.data.samples import PARTS, Sample, Source
from tl_train.progress import Progress

PART_WORDS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_PART_OF = {word: part for part, words in PART_WORDS.items() for word in words}


def part_named(name: str) -> str | None:
    """The part that a folder or a cell names, in any case: one of `PARTS`; None where it names none."""
    return _PART_OF.get(unicodedata.normalize("NFKC", name).strip().casefold())


def expected_words() -> str:
    """What may stand for a part, for messages: `train, val or test`."""
    return f"{', '.join(PARTS[:-1])} or {PARTS[-1]}"


def source_of(
    labels: tuple[str, ...], parts: Mapping[str, list[Sample]], progress: Progress, remarks: Iterable[str] = ()
) -> Source:
    """A source from the parts that were found, `train` among them.

    One other part, whatever it is called, is kept whole for the final figures: whoever divides the images in two wants
    to know how the model does on the second part. Where there is a third, its name says what it is for.
    """
    named = dict(parts)
    if "test" not in named and "val" in named:
        named["test"] = named.pop("val")
        progress.note("The validation images are kept whole for the final figures, as there is no test part.")
    return Source(labels, named["train"], named.get("val"), named.get("test"), tuple(remarks))
