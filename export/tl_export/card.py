"""The model card: what somebody who is handed the file should know of it, generated from what was measured.

Source of the headings: Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path, PurePath

import jinja2

from tl_export.proof.golden import Golden
from tl_export.proof.precision import STORED
from tl_export.smaller.form import Formed
from tl_infer.cli.console import printable
from tl_infer.model.contract import ModelSpec
from tl_train.errors import RunError
from tl_train.run_folder.folder import RunFolder

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
    metrics = RunFolder(run).metrics()
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
        raise RunError(
            f"{RunFolder(run).metrics_file}: not as this tl-toolkit writes it ({error}); train again"
        ) from error


def escape(text: object) -> str:
    """Any text as one line that Markdown shows as it is."""
    return _MARKDOWN.sub(r"\\\1", printable(str(text)))


def _shown(value: object) -> object:
    return "" if value is None else value
