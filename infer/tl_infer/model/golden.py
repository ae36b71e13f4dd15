"""The golden samples of a model file: a few tiny images and the probabilities they must give, under `tl.golden`.

With them any machine and any runtime can check itself: one that ignores `antialias`, swaps channels or computes with
too little precision loads the file without an error and gives wrong answers.
"""

import base64
import dataclasses
import json
import math

from tl_infer.errors import ModelFileError
from tl_infer.model.records import read_metadata

GOLDEN_KEY = "tl.golden"
GOLDEN_VERSION = 1

MAX_SAMPLES = 64
MAX_PNG_BYTES = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSample:
    """One image and its answer.

    Attributes:
        name: what the image is, for people.
        png: the image as the bytes of a PNG file, upright RGB.
        probabilities: of every class, in the order of the labels, each 0..1.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.

    """

    name: str
    png: bytes
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.png) <= MAX_PNG_BYTES:
            raise ValueError(f"png: found {len(self.png)} bytes, expected 1 to {MAX_PNG_BYTES}")
        if not all(0 <= p <= 1 for p in self.probabilities) or abs(math.fsum(self.probabilities) - 1) > 1e-3:
            raise ValueError(f"probabilities: found {self.probabilities[:4]}..., expected 0 to 1, summing to 1")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSet:
    """All golden samples of a file.

    Attributes:
        samples: one or more.
        tolerance: the largest allowed absolute difference of a probability, above 0, below 1.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.

    """

    samples: tuple[GoldenSample, ...]
    tolerance: float

    def __post_init__(self) -> None:
        if not 1 <= len(self.samples) <= MAX_SAMPLES:
            raise ValueError(f"samples: found {len(self.samples)}, expected 1 to {MAX_SAMPLES}")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance: found {self.tolerance}, expected above 0 and below 1")

    def to_json(self) -> str:
        """The text to store under `tl.golden`; the same set always gives the same text."""
        samples = [
            {"name": s.name, "png": base64.b64encode(s.png).decode("ascii"), "probabilities": list(s.probabilities)}
            for s in self.samples
        ]
        document = {"version": GOLDEN_VERSION, "tolerance": self.tolerance, "samples": samples}
        return json.dumps(document, ensure_ascii=False, sort_keys=True, allow_nan=False)

    @staticmethod
    def from_json(document: str, classes: int) -> "GoldenSet":
        """The golden samples in the metadata of a model file.

        Args:
            document: the text under `tl.golden`.
            classes: how many probabilities each sample must have.

        Raises:
            ModelFileError: not JSON, another version, or a field is missing, unknown, of the wrong type or out of
                range.

        """
        found = read_metadata(GoldenSet, document, GOLDEN_KEY, GOLDEN_VERSION)
        for sample in found.samples:
            if len(sample.probabilities) != classes:
                raise ModelFileError(
                    f"{GOLDEN_KEY}: sample '{sample.name}' has {len(sample.probabilities)} probabilities, the model "
                    f"{classes} classes; export the model again with tl-export"
                )
        return found
