"""Classify images with a model file made by tl-export: onnxruntime, numpy and pillow, nothing to configure.

The names below load their modules when first used, so that `--help`, and programs that may not classify at all, start
at once.
"""

from __future__ import annotations

import importlib
import os

TYPE_CHECKING = False  # typing's own, without loading it: the programs handle signals as soon as they can
# onnxruntime 1.29 and later report to their maker unless this is set before the library is loaded; a host program that
# has set it has decided for itself.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from typing import Any

    from tl_infer.classifier import Classifier
    from tl_infer.errors import (
        ClosedError,
        ImageError,
        ImageTooLargeError,
        InputPathError,
        ModelFileError,
        OutputPathError,
        ProviderError,
        SelfTestError,
        TlError,
    )
    from tl_infer.images import load_image
    from tl_infer.limits import Limits
    from tl_infer.model.contract import FamiliaritySpec, ModelSpec, ParitySummary, PreprocessSpec
    from tl_infer.results import Classification, Score, SelfTest

    ray: Any  # not imported: programs that are frozen would take Ray along

__version__ = "0.2.0"

__all__ = [
    "Classification",
    "Classifier",
    "ClosedError",
    "FamiliaritySpec",
    "ImageError",
    "ImageTooLargeError",
    "InputPathError",
    "Limits",
    "ModelFileError",
    "ModelSpec",
    "OutputPathError",
    "ParitySummary",
    "PreprocessSpec",
    "ProviderError",
    "Score",
    "SelfTest",
    "SelfTestError",
    "TlError",
    "load_image",
]

_MODULES = {
    "classifier": ("Classifier",),
    "model.contract": ("FamiliaritySpec", "ModelSpec", "ParitySummary", "PreprocessSpec"),
    "errors": (
        "ClosedError",
        "ImageError",
        "ImageTooLargeError",
        "InputPathError",
        "ModelFileError",
        "OutputPathError",
        "ProviderError",
        "SelfTestError",
        "TlError",
    ),
    "images": ("load_image",),
    "limits": ("Limits",),
    "results": ("Classification", "Score", "SelfTest"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # with it, a type checker would take every name for one of ours

    def __getattr__(name: str) -> Any:
        if name == "ray":  # not in __all__: `import *` would put it in the place of Ray itself
            return importlib.import_module(f"{__name__}.ray")
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value  # found directly from now on
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
