"""What the values of a configuration can be: words, sizes, colours; and the defaults that modes share."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from tl_train.config.options import check

Mode = Literal["auto", "head", "partial", "gradual", "full"]
HeadFit = Literal["sgd", "penalised"]
HeadKind = Literal["replace", "append"]
Optimizer = Literal["adam", "adamw"]
Schedule = Literal["constant", "cosine"]
ClassWeights = Literal["none", "balanced"]
Augment = Literal["none", "light", "standard"]
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
KnownPrecision = Literal["32-true", "bf16-mixed", "16-mixed"]
MatOrder = Literal["column", "row"]
Parts = Literal["auto", "ignore"]

DEFAULT_VAL_SPLIT = 0.1
DEFAULT_TEST_SPLIT = 0.2

DEFAULT_SEPARATOR = "|"

# The modes that train the last stages, from a penalised head.
TRAINS_STAGES = ("auto", "partial")

# What training from a fitted head on has for a default where it is not that of the field. Source: docs/datasets.md,
# "How the last stages are trained" and "How all parameters are trained", which have what was measured.
_FINE_TUNING = {"optimizer": "adamw", "schedule": "cosine", "augment": "light"}
_LAST_STAGES = {**_FINE_TUNING, "epochs": 0, "batch_size": 64, "label_smoothing": 0.1}
MODE_DEFAULTS: Mapping[Mode, Mapping[str, Any]] = {
    "auto": _LAST_STAGES,
    "partial": _LAST_STAGES,
    "gradual": {**_FINE_TUNING, "head_epochs": 1, "warmup_epochs": 0.5},
    "full": {**_FINE_TUNING, "epochs": 8, "batch_size": 32, "lr": 3e-4, "warmup_epochs": 0.5},
}
STAGES_WARMUP = 0.3  # of the epochs, where none is given; as in torch's OneCycleLR

# The deepest EfficientNet stage sees 1/32 of the input's side.
MIN_SIDE_PX = 32


def parse_sides(text: str) -> tuple[int, int] | None:
    """Height and width, pixels, of `192x256`; None for any other text."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})[xX]([1-9][0-9]{0,4})", text)
    return (int(match[1]), int(match[2])) if match else None


def size_in_words(size: tuple[int, int]) -> str:
    """A height and a width as `--size` takes them: 224, or 192x256."""
    height, width = size
    return f"{height}" if height == width else f"{height}x{width}"


def parse_color(text: str) -> tuple[int, int, int]:
    """Red, green and blue, 0..255, of `black`, `white` or `#rrggbb`.

    Raises:
        ConfigError: the text is none of these.

    """
    code = {"black": "#000000", "white": "#ffffff"}.get(text, text)
    check(re.fullmatch("#[0-9a-fA-F]{6}", code) is not None, "fill", text, "black, white or #rrggbb, as in #7f7f7f")
    red, green, blue = bytes.fromhex(code[1:])
    return red, green, blue
