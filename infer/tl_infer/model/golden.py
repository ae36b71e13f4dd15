"""The golden samples of a model file: a few tiny images and the answers they must give, under `tl.golden`.

With them any machine and any runtime can check itself: one that ignores `antialias`, swaps channels or computes with
too little precision loads the file without an error and gives wrong answers.
"""

import dataclasses
import math

from tl_infer.errors import ModelFileError
from tl_infer.model.records import read_metadata, since, to_metadata

GOLDEN_KEY = "tl.golden"
NEWEST_VERSION = 2

MAX_SAMPLES = 64
MAX_PNG_BYTES = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSample:
    """One image and its answer.

    Attributes:
        name: what the image is, for people.
        png: the image as the bytes of a PNG file, upright RGB.
        probabilities: of every class, in the order of the labels, each 0..1.
        familiarity: 0..1 (version 2); None for a model without it.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.

    """

    name: str
    png: bytes
    probabilities: tuple[float, ...]
    familiarity: float | None = since(2)

    def __post_init__(self) -> None:
        if not 0 < len(self.png) <= MAX_PNG_BYTES:
            raise ValueError(f"png: found {len(self.png)} bytes, expected 1 to {MAX_PNG_BYTES}")
        if not all(0 <= p <= 1 for p in self.probabilities) or abs(math.fsum(self.probabilities) - 1) > 1e-3:
            raise ValueError(f"probabilities: found {self.probabilities[:4]}..., expected 0 to 1, summing to 1")
        if self.familiarity is not None and not 0 <= self.familiarity <= 1:
            raise ValueError(f"familiarity: found {self.familiarity}, expected 0 to 1")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSet:
    """All golden samples of a file.

    Attributes:
        samples: one or more.
        tolerance: the largest allowed absolute difference of a probability, above 0, below 1.
        familiarity_tolerance: likewise of the familiarity (version 2); None where the samples have none.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.

    """

    samples: tuple[GoldenSample, ...]
    tolerance: float
    familiarity_tolerance: float | None = since(2)

    def __post_init__(self) -> None:
        if not 1 <= len(self.samples) <= MAX_SAMPLES:
            raise ValueError(f"samples: found {len(self.samples)}, expected 1 to {MAX_SAMPLES}")
        for name in ("tolerance", "familiarity_tolerance"):
            tolerance = getattr(self, name)
            if tolerance is not None and not 0 < tolerance < 1:
                raise ValueError(f"{name}: found {tolerance}, expected above 0 and below 1")
        if any((sample.familiarity is None) != (self.familiarity_tolerance is None) for sample in self.samples):
            raise ValueError("familiarity_tolerance: expected one where all samples have a familiarity, and only there")

    def to_json(self) -> str:
        """The text to store under `tl.golden`; the same set always gives the same text."""
        return to_metadata(self)

    @staticmethod
    def from_json(document: str, classes: int, with_familiarity: bool = False) -> "GoldenSet":
        """The golden samples in the metadata of a model file.

        Args:
            document: the text under `tl.golden`.
            classes: how many probabilities each sample must have.
            with_familiarity: whether the model gives a familiarity, so that each sample must have one, too.

        Raises:
            ModelFileError: not JSON, another version, or a field is missing, unknown, of the wrong type or out of
                range.

        """
        found = read_metadata(GoldenSet, document, GOLDEN_KEY, NEWEST_VERSION)
        for sample in found.samples:
            if len(sample.probabilities) != classes:
                raise ModelFileError(
                    f"{GOLDEN_KEY}: sample '{sample.name}' has {len(sample.probabilities)} probabilities, the model "
                    f"{classes} classes; export the model again with tl-export"
                )
        if with_familiarity != (found.familiarity_tolerance is not None):
            raise ModelFileError(
                f"{GOLDEN_KEY}: the samples and the model differ in whether there is a familiarity; export the model "
                "again with tl-export"
            )
        return found
