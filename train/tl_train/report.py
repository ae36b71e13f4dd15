"""`report.html`: one self-contained page about a run."""

import base64
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2

from tl_train.history import Epoch
from tl_train.metrics import Evaluation

_TEMPLATE = "report.html.j2"


def render(
    title: str,
    facts: Mapping[str, object],
    history: Sequence[Epoch],
    evaluation: Evaluation | None,
    labels: Sequence[str],
    figures: Mapping[str, bytes],
) -> str:
    """The page as HTML; needs no other file and no network.

    Args:
        title: heading.
        facts: what to list of the run, in order.
        history: a row per epoch.
        evaluation: answers on the held-out pictures, if there were any.
        labels: class names.
        figures: caption -> PNG.

    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    source = resources.files("tl_train").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    context: dict[str, Any] = {
        "title": title,
        "facts": facts,
        "history": history,
        "evaluation": evaluation,
        "labels": labels,
        "figures": {caption: base64.b64encode(png).decode() for caption, png in figures.items()},
    }
    return environment.from_string(source).render(context)
