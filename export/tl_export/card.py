"""The model card: what somebody who is handed the file should know of it, generated from what was measured.

Source of the headings: Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path, PurePath
from typing import Any

import jinja2

from tl_export.proof.golden import Golden
from tl_export.proof.precision import STORED
from tl_export.smaller.form import Formed
from tl_infer.cli.console import printable
from tl_infer.model.contract import ModelSpec
from tl_train.errors import RunError
from tl_train.run_folder.folder import METRICS

_TEMPLATE = "model_card.md.j2"
_MAX_CLASSES = 100
_PARTS = {"test": "test", "val": "validation"}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~])")


def model_card(
    name: str, run: Path, spec: ModelSpec, outputs: Sequence[str], formed: Formed, golden: Golden, size_bytes: int
) -> str:
    """The card as Markdown; the same run and proof give the same text.

    Args:
        name: of the model file.
        run: the run's folder, for what tl-train measured.
        spec: what the file says of itself.
        outputs: of the file.
        formed: in what form, and what was proven.
        golden: the golden samples.
        size_bytes: of the file.

    Raises:
        RunError: the run's metrics.json is not what tl-train writes.

    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown, not HTML: every text of the user's goes through `escape`
        finalize=_shown,
    )  # fmt: skip
    environment.filters["escape_md"] = escape
    environment.filters["percent"] = lambda share: f"{100 * share:.2f}%"
    environment.filters["number"] = lambda value: "not defined" if value is None else f"{value:.3f}"
    source = resources.files("tl_export").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    metrics = read_metrics(run)
    try:
        return environment.from_string(source).render(
            name=name,
            spec=spec,
            outputs=outputs,
            proof=formed.proof,
            int8=formed.int8,
            stored=STORED[formed.proof.precision],
            golden=golden,
            megabytes=size_bytes / 1e6,
            run=metrics["run"],
            held_out=metrics["held_out"],
            calibration=metrics["calibration"],
            data=PurePath(str(metrics["run"]["data"])).name,
            part=_PARTS.get(metrics["held_out"].get("part", ""), "held-out"),
            max_classes=_MAX_CLASSES,
        )
    except (jinja2.UndefinedError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{run / METRICS}: not as this tl-toolkit writes it ({error}); train again") from error


def read_metrics(run: Path) -> Mapping[str, Mapping[str, Any]]:
    """What tl-train measured, as `held_out`, `calibration` and `run`.

    Raises:
        RunError: no such file, or not what tl-train writes.

    """
    path = run / METRICS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read: {error}; train again with tl-train") from error
    parts = ("held_out", "calibration", "run")
    if not isinstance(found, dict) or not all(isinstance(found.get(part), dict) for part in parts):
        raise RunError(f"{path}: expected {', '.join(parts)}; made by another version, train again with tl-train")
    return found


def escape(text: object) -> str:
    """Any text as one line that Markdown shows as it is."""
    return _MARKDOWN.sub(r"\\\1", printable(str(text)))


def _shown(value: object) -> object:
    return "" if value is None else value
