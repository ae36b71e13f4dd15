"""`report.html`: one self-contained page about a run."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tl_train.data.samples import PART_NAMES
from tl_train.evaluation.calibration import Calibration
from tl_train.evaluation.metrics import Evaluation, class_scores
from tl_train.evaluation.reliability import risk_coverage
from tl_train.familiarity.rejection import FittedFamiliarity
from tl_train.report import alt_texts, diagnostics
from tl_train.report.label_check import LabelCheck
from tl_train.report.markup import render_html, svg_uri
from tl_train.report.run_page import RunPage
from tl_train.report.thumbnails import thumbnail_uri

_MAX_THUMBNAILS = 12
_MAX_MATRIX = 20  # more classes than this are drawn instead of listed
_MAX_ROWS = 200
_MAX_CONFUSIONS = 12


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Page(RunPage):
    """What the page tells of a run with one label an image.

    Attributes:
        evaluation: answers on the held-out images, if there were any.
        calibration: what was fitted for them.
        familiarity: what the model finds unfamiliar; None where that was not tried.
        label_check: training images whose label may be wrong, and duplicates; None leaves the section out.
        notes: other things worth knowing, such as where the head started from.
        caveats: why an accuracy on new images may be outside the interval, a sentence each.
        compared: the architectures that were compared: a header and a row for each, texts.

    """

    evaluation: Evaluation | None = None
    calibration: Calibration | None = None
    familiarity: FittedFamiliarity | None = None
    label_check: LabelCheck | None = None
    notes: Sequence[str] = ()
    caveats: Sequence[str] = ()
    compared: Sequence[Sequence[str]] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class _Thumbnail:
    name: str
    source: str
    true: str
    true_probability: float
    predicted: str
    probability: float
    pixelated: bool


def render(page: Page) -> str:
    """The page as HTML; needs no other file and no network. The same page gives the same text."""
    judged = _judged(page, page.evaluation) if page.evaluation else {}
    return render_html("report.html.j2", page=page, figures=page.drawn(), **judged)


def _judged(page: Page, evaluation: Evaluation) -> dict[str, Any]:
    """What the page shows of the held-out images."""
    below = page.calibration.abstain_below if page.calibration else None
    many = len(page.labels) > _MAX_MATRIX
    wrong = np.flatnonzero(~evaluation.right)
    rows = np.arange(len(evaluation.truth))
    true_probability = evaluation.probabilities[rows, evaluation.truth]
    scores = list(zip(page.labels, class_scores(evaluation), strict=True))
    worst_first = sorted(scores, key=lambda pair: (pair[1].support == 0, 1 if pair[1].f1 is None else pair[1].f1))
    return {
        "part": PART_NAMES[evaluation.part],
        "interval": evaluation.interval,
        "before": evaluation.before(),
        "calibrated": evaluation.calibrated,
        "confusion": evaluation.confusion.tolist(),
        "confusion_figure": svg_uri(diagnostics.confusion(evaluation, page.labels)) if many else None,
        "confusions": _confusions(evaluation, page.labels),
        "scores": worst_first[:_MAX_ROWS] if len(scores) > _MAX_ROWS else scores,
        "reliability": svg_uri(diagnostics.reliability(evaluation)),
        "reliability_words": alt_texts.of_reliability(evaluation),
        "risk": svg_uri(diagnostics.risk(evaluation, below)),
        "risk_words": alt_texts.of_risk(evaluation),
        "area": risk_coverage(evaluation.confidence, evaluation.right).area,
        "answered": None if below is None else _answered(evaluation, below),
        "most_wrong": _thumbnails(page, evaluation, wrong[np.argsort(true_probability[wrong], kind="stable")]),
        "least_sure": _thumbnails(page, evaluation, np.argsort(evaluation.confidence, kind="stable")),
    }


def _answered(evaluation: Evaluation, below: float) -> dict[str, int]:
    answered = evaluation.confidence >= below
    return {"images": int(answered.sum()), "right": int(evaluation.right[answered].sum())}


def _confusions(evaluation: Evaluation, labels: Sequence[str]) -> list[tuple[str, str, int]]:
    """The most frequent errors, made more than once: true class, predicted class, how often."""
    counts = evaluation.errors
    order = np.argsort(-counts, axis=None, kind="stable")[:_MAX_CONFUSIONS]
    pairs = [divmod(int(place), len(labels)) for place in order]
    return [(labels[true], labels[predicted], int(counts[true, predicted])) for true, predicted in pairs
            if counts[true, predicted] > 1]  # fmt: skip


def _thumbnails(page: Page, evaluation: Evaluation, order: npt.NDArray[np.int64]) -> list[_Thumbnail]:
    if page.load is None:
        return []
    shown = []
    for index in map(int, order[:_MAX_THUMBNAILS]):
        true, predicted = int(evaluation.truth[index]), int(evaluation.predicted[index])
        source, pixelated = thumbnail_uri(page.load(index))
        shown.append(
            _Thumbnail(
                name=page.names[index],
                source=source,
                true=page.labels[true],
                true_probability=float(evaluation.probabilities[index, true]),
                predicted=page.labels[predicted],
                probability=float(evaluation.confidence[index]),
                pixelated=pixelated,
            )
        )
    return shown
