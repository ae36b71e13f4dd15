"""Fine-tune a pretrained network on your own images: the program `tl-train`, and these names for Python.

They load their modules when first used, so that `tl-train --help` needs none of the libraries that train.
"""

from __future__ import annotations

import importlib
import os

import tl_infer as tl_infer  # first of all, because it keeps onnxruntime from reporting to its maker

# What the hub's client adds to downloads about this machine; a host program that has set it has decided for itself.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

TYPE_CHECKING = False  # typing's own, without loading it: the programs handle signals as soon as they can
if TYPE_CHECKING:
    from typing import Any

    from tl_train.config import TrainConfig
    from tl_train.run.comparison import compare
    from tl_train.run.run import dry_run, train
    from tl_train.run_folder.result import TrainResult

__all__ = ["TrainConfig", "TrainResult", "compare", "dry_run", "train"]

_HOME = {
    "TrainConfig": "config",
    "TrainResult": "run_folder.result",
    "compare": "run.comparison",
    "dry_run": "run.run",
    "train": "run.run",
}


if not TYPE_CHECKING:  # with it, a type checker would take every name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value  # found directly from now on
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
