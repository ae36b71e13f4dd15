"""From a matplotlib figure to a file: PNG for the folder, SVG for the page; the same figure gives the same bytes."""

import dataclasses
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.figure import Figure

_DPI = 120


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Described:
    """A figure, and what it shows in words, for those who cannot see it."""

    figure: Figure
    words: str


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    with _rendering():
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file without date or random ids; its texts stay texts, in the reader's fonts."""
    buffer = io.BytesIO()
    with _rendering(), matplotlib.rc_context({"svg.hashsalt": "tl-toolkit", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", dpi=_DPI, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


@contextmanager
def _rendering() -> Iterator[None]:
    """A label in a script that matplotlib's own font lacks is no reason to fail, nor one to warn about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        warnings.filterwarnings("ignore", message=r"Matplotlib currently does not support .* natively")
        yield
