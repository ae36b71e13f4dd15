"""Filling the HTML templates: every text of the user's is escaped, every name that a template uses must be given."""

import base64
from importlib import resources

import jinja2
from matplotlib.figure import Figure

from tl_train.evaluation.metrics import percent
from tl_train.report.drawing import svg


def render_html(template: str, **context: object) -> str:
    """The page as text; the same context gives the same text.

    Args:
        template: file name in `templates`.
        **context: what the template names.

    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["percent"] = percent
    environment.filters["share"] = lambda value: "\N{EN DASH}" if value is None else f"{value:.3f}"
    return environment.get_template(template).render(context)


def _source(template: str) -> str:
    return resources.files("tl_train.report").joinpath("templates", template).read_text(encoding="utf-8")


def svg_uri(figure: Figure) -> str:
    """A figure as a data: URI. As an image of its own it shares no ids, styles or scripts with the page."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg(figure)).decode()}"
