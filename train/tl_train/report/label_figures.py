"""Figures of a run whose images may have several labels: precision against recall, and which labels go together."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve

from tl_train.evaluation.multi_label import LabelEvaluation
from tl_train.report.figures import name_both_axes, name_in_legend, short

_MAX_CURVES = 20
_LINES = ("-", "--", "-.", ":")  # for those who cannot tell the colours apart


def precision_recall(evaluation: LabelEvaluation, labels: Sequence[str]) -> Figure:
    """Precision against recall of each label, or of the twenty with the lowest average precision; dots: thresholds."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    scores = evaluation.scores
    drawn = sorted(
        (place for place, score in enumerate(scores) if score.average_precision is not None),
        key=lambda place: scores[place].average_precision or 0.0,
    )[:_MAX_CURVES]
    lines, names = [], []
    for place in sorted(drawn):
        score, truth = scores[place], evaluation.answers.of_label(place)[1]
        probabilities = evaluation.probabilities[evaluation.answers.known[:, place], place]
        precision, recall, _ = precision_recall_curve(truth, probabilities)
        style = _LINES[place % len(_LINES)]
        (line,) = axes.plot(recall, precision, style, drawstyle="steps-post", linewidth=1.2)
        lines.append(line)
        names.append(f"{short([labels[place]])[0]}  {score.average_precision:.3f}")
        if score.precision is not None and score.recall is not None:
            axes.plot(score.recall, score.precision, "o", color=line.get_color(), markersize=4, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    if drawn:
        name_in_legend(axes, lines, names, title="average precision", fontsize=8)
    return figure


def co_occurrence(evaluation: LabelEvaluation, labels: Sequence[str]) -> Figure:
    """Of the images with the label of a row, the share that also have that of the column; for many labels."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    counts = evaluation.co_occurrence()
    image = axes.imshow(counts / np.maximum(1, counts.diagonal()[:, np.newaxis]), cmap="Blues", vmin=0, vmax=1)
    name_both_axes(axes, labels)
    figure.colorbar(image, shrink=0.7, label="share of the row's images")
    return figure
