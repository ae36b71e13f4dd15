"""`report.html` of a run whose images may have several labels."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tl_train.data.samples import PART_NAMES
from tl_train.evaluation.label_decisions import LabelDecisions
from tl_train.evaluation.multi_label import LabelEvaluation, LabelScore
from tl_train.report import alt_texts
from tl_train.report.label_figures import co_occurrence, precision_recall
from tl_train.report.markup import render_html, svg_uri
from tl_train.report.run_page import RunPage
from tl_train.report.thumbnails import thumbnail_uri

_MAX_MATRIX = 20  # more labels than this are drawn instead of listed
_MAX_ROWS = 200
_MAX_SHOWN_LABELS = 20
_OF_EACH_KIND = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelPage(RunPage):
    """What the page tells of a run whose images may have several labels.

    Attributes:
        decisions: temperature and threshold of each label.
        evaluation: answers on the held-out images, if there were any.

    """

    decisions: LabelDecisions
    evaluation: LabelEvaluation | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Thumbnail:
    name: str
    source: str
    pixelated: bool
    probability: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Mistakes:
    """The images of which a label is most wrongly said: given and absent, present and not given."""

    label: str
    given: Sequence[_Thumbnail]
    missed: Sequence[_Thumbnail]


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    label: str
    score: LabelScore
    threshold: float
    temperature: float


def render_label_page(page: LabelPage) -> str:
    """The page as HTML; needs no other file and no network. The same page gives the same text."""
    judged = _judged(page, page.evaluation) if page.evaluation else {}
    return render_html("label_report.html.j2", page=page, figures=page.drawn(), **judged)


def _judged(page: LabelPage, evaluation: LabelEvaluation) -> dict[str, Any]:
    rows = [
        _Row(*row) for row in zip(page.labels, evaluation.scores, evaluation.thresholds.tolist(),
                                  evaluation.temperatures.tolist(), strict=True)
    ]  # fmt: skip
    worst_first = sorted(range(len(rows)), key=lambda place: _average_precision(rows[place].score))
    is_listed = len(rows) <= _MAX_MATRIX
    return {
        "part": PART_NAMES[evaluation.part],
        "images": len(evaluation.answers),
        "judged": sum(score.average_precision is not None for score in evaluation.scores),
        "rows": [rows[place] for place in worst_first[:_MAX_ROWS]] if len(rows) > _MAX_ROWS else rows,
        "precision_recall": svg_uri(precision_recall(evaluation, page.labels)),
        "precision_recall_words": alt_texts.of_precision_recall(evaluation, page.labels),
        "co_occurrence": evaluation.co_occurrence().tolist() if is_listed else None,
        "co_occurrence_figure": None if is_listed else svg_uri(co_occurrence(evaluation, page.labels)),
        "mistakes": [_mistakes(page, evaluation, place) for place in worst_first[:_MAX_SHOWN_LABELS]],
    }


def _average_precision(score: LabelScore) -> float:
    """For sorting: labels without one come last."""
    return 2.0 if score.average_precision is None else score.average_precision


def _mistakes(page: LabelPage, evaluation: LabelEvaluation, place: int) -> _Mistakes:
    probabilities, given = evaluation.probabilities[:, place], evaluation.predicted[:, place]
    targets = evaluation.answers.targets[:, place]
    wrongly = np.flatnonzero(given & (targets == 0))
    missed = np.flatnonzero(~given & (targets == 1))
    return _Mistakes(
        page.labels[place],
        _thumbnails(page, probabilities, wrongly[np.argsort(-probabilities[wrongly], kind="stable")]),
        _thumbnails(page, probabilities, missed[np.argsort(probabilities[missed], kind="stable")]),
    )


def _thumbnails(
    page: LabelPage, probabilities: npt.NDArray[np.float64], order: npt.NDArray[np.int64]
) -> list[_Thumbnail]:
    if page.load is None:
        return []
    return [
        _Thumbnail(page.names[index], *thumbnail_uri(page.load(index)), float(probabilities[index]))
        for index in map(int, order[:_OF_EACH_KIND])
    ]
