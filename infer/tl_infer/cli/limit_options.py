"""The options for what decoding an image may take, as far as `tl-infer` and `tl-infer serve` share them; ranges."""

import dataclasses
import math
from typing import Any

import click

from tl_infer.limits import DEFAULT_LIMITS, FULL_DEPTH, MAX_SECONDS, MIN_DEPTH, Limits


class _Within(click.FloatRange):
    """A number within a range; NaN is outside of every one, but compares as if it were inside."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


COUNT = click.IntRange(min=1)
SECONDS = _Within(0, MAX_SECONDS, min_open=True)
SHARE = _Within(0, 1)
BIT_DEPTH = click.IntRange(MIN_DEPTH, FULL_DEPTH)

# Option -> field of `Limits`, where the names differ.
_FIELDS = {"max_file_size": "max_file_bytes", "max_side": "max_side_px"}

max_pixels = click.option(
    "--max-pixels", type=COUNT, default=DEFAULT_LIMITS.max_pixels, show_default=True,
    help="Refuse images with more pixels.",
)  # fmt: skip
max_side = click.option(
    "--max-side", type=COUNT, metavar="PIXELS", default=DEFAULT_LIMITS.max_side_px, show_default=True,
    help="Refuse images wider or taller than this.",
)  # fmt: skip
max_scans = click.option(
    "--max-scans", type=COUNT, default=DEFAULT_LIMITS.max_scans, show_default=True,
    help="Refuse progressive JPEGs with more scans.",
)  # fmt: skip


def take_limits(options: dict[str, Any]) -> Limits:
    """The limits among the options of a command, which are taken out of them."""
    fields = {field.name for field in dataclasses.fields(Limits)}
    named = {option: _FIELDS.get(option, option) for option in options}
    return Limits(**{name: options.pop(option) for option, name in named.items() if name in fields})
