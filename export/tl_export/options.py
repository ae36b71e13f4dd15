"""What an export can be asked for. It imports nothing heavy, so the program can take its defaults from here."""

import dataclasses
import enum
import os
from collections.abc import Sequence
from typing import Literal, get_args

from tl_infer.limits import Limits
from tl_infer.model.contract import EMBEDDING, FAMILIARITY, HEATMAP, LOGITS, PROBABILITIES

OPTIONAL_OUTPUTS = (LOGITS, EMBEDDING, HEATMAP)
ALL_OUTPUTS = (PROBABILITIES, *OPTIONAL_OUTPUTS, FAMILIARITY)

GoldenSource = Literal["pictures", "synthetic"]

# What int8 is kept by: no loss above the allowance was shown; a smaller one was shown; nothing, it is only measured.
Gate = Literal["shown", "strict", "none"]


class Precision(enum.StrEnum):
    """How a file stores its network; the value is its name in reports."""

    FP32 = "fp32"
    FP16 = "fp16-weights"
    INT8 = "int8"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What the file holds, and what it is verified on.

    Attributes:
        outputs: the outputs to include, where the network has them, and the run a familiarity; `probabilities` is
            always included.
        precision: how the network is stored, a `Precision` or its value. `int8` only where it passes its gates.
        max_drop: the accuracy, or of several labels the mAP, that int8 may lose, as a share (0.005 is half a point),
            0..1.
        gate: `shown` refuses int8 where a greater loss was shown, `strict` keeps it only where a smaller one was shown,
            `none` keeps it whatever was measured.
        golden: what the golden samples are: small copies of held-out images, or patterns that tl-export draws.
        add_class: a name, and a folder with five images or more: the file gets that class, too; None for none. Not with
            int8.
        images: image files and folders to verify on; the run's held-out images when empty.
        verify_count: how many of them to verify on, evenly spread; None for all.
        formats: of images, read besides those of the run, as `tl_infer.Limits.formats`.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.

    """

    outputs: Sequence[str] = ALL_OUTPUTS
    precision: Precision = Precision.FP32
    max_drop: float = 0.005
    gate: Gate = "shown"
    golden: GoldenSource = "pictures"
    add_class: tuple[str, str | os.PathLike[str]] | None = None
    images: Sequence[str | os.PathLike[str]] = ()
    verify_count: int | None = None
    formats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.outputs:
            _check(name in ALL_OUTPUTS, "outputs", f"'{name}'", f"some of {', '.join(ALL_OUTPUTS)}")
        stored = [precision.value for precision in Precision]
        _check(self.precision in stored, "precision", f"'{self.precision}'", " or ".join(stored))
        object.__setattr__(self, "precision", Precision(self.precision))
        _check(0 <= self.max_drop <= 1, "max_drop", self.max_drop, "0 to 1, as a share")
        _check(self.gate in get_args(Gate), "gate", f"'{self.gate}'", " or ".join(get_args(Gate)))
        _check(self.golden in get_args(GoldenSource), "golden", f"'{self.golden}'", " or ".join(get_args(GoldenSource)))
        alone = self.add_class is None or self.precision is not Precision.INT8
        _check(alone, "add_class", "precision int8", "fp32 or fp16-weights: int8 is judged on images of all classes")
        count = self.verify_count
        _check(count is None or count >= 1, "verify_count", count, "1 or more, or None for all")
        Limits(formats=self.formats)  # which checks them


def _check(holds: bool, field: str, found: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"{field}: found {found}, expected {expected}")
