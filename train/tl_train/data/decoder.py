"""What decides the pixels of a file: our rules, and the libraries behind them; a name for caches."""

import importlib.metadata
import importlib.util
from typing import Final

import PIL

from tl_infer.images import RULES


def _heif_version() -> str:
    """Of the library for HEIC images, if it is installed."""
    if importlib.util.find_spec("pillow_heif") is None:
        return ""
    try:
        return f", pillow-heif {importlib.metadata.version('pillow-heif')}"
    except importlib.metadata.PackageNotFoundError:  # it is there without what pip notes of it
        return ", pillow-heif"


DECODER: Final = f"rules {RULES}, Pillow {PIL.__version__}{_heif_version()}"
