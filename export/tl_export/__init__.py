"""Turn a training run into one proven ONNX file: `export`, and `check` to prove a finished file again.

The names below load their modules when first used, so that `tl-export --help` starts at once.
"""

from __future__ import annotations

import importlib

import tl_train as tl_train  # first of all, because it keeps libraries from reporting to their makers

TYPE_CHECKING = False  # typing's own, without loading it: the programs handle signals as soon as they can
if TYPE_CHECKING:
    from typing import Any

    from tl_export.errors import ExportError, VerificationError
    from tl_export.options import ExportOptions, Precision
    from tl_export.pipeline import export
    from tl_export.recheck import check
    from tl_export.results import CheckResult, ExportResult

__all__ = [
    "CheckResult",
    "ExportError",
    "ExportOptions",
    "ExportResult",
    "Precision",
    "VerificationError",
    "check",
    "export",
]

_MODULES = {
    "errors": ("ExportError", "VerificationError"),
    "options": ("ExportOptions", "Precision"),
    "pipeline": ("export",),
    "recheck": ("check",),
    "results": ("CheckResult", "ExportResult"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # with it, a type checker would take every name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value  # found directly from now on
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
