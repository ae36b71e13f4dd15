"""The chapter's three figures, for any number of classes, and that of the penalty."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, StepPatch

from tl_infer.text.safetext import printable
from tl_train.evaluation.answers import Floats, Ints
from tl_train.evaluation.metrics import Evaluation, percent
from tl_train.head.cross_validation import StrengthTried
from tl_train.history import Epoch

RIGHT, WRONG = "tab:blue", "tab:orange"
_HATCH = "xxxx"  # of what is wrong, for those who cannot tell the colours apart
_LAYER_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx")  # likewise of classes

# More drawn items than this become an image inside the figure, so that a page with them stays small.
_MAX_VECTOR_ITEMS = 4000
_LEGEND_ROW_IN = 0.22  # inches: a legend that is higher than its figure leaves the axes no room
_MAX_COLORS = 20
_MAX_NAMED = 50  # more labels than this do not fit beside an axis
_MAX_NAMED_IN_MATRIX = 60
_MAX_CHARACTERS = 18  # of a label beside an axis
_CHARACTERS_ACROSS = 85  # so many fit below the axis of a figure 9 inches wide
_SIGN_OF_TWO = (1, -1)  # the chapter draws the first class upwards, the second downwards


def classification(evaluation: Evaluation, labels: Sequence[str]) -> Figure:
    """A bar per image with its predicted class, and red dash-dotted lines between the true classes.

    Two classes are drawn as in the chapter, +1 and -1; with more, each class has its own height.
    """
    figure, order = Figure(figsize=(9, _height(len(labels))), layout="constrained"), _by_truth(evaluation)
    axes = figure.subplots()
    predicted, truth = evaluation.predicted[order], evaluation.truth[order]
    for color, chosen in ((RIGHT, predicted == truth), (WRONG, predicted != truth)):
        if len(labels) == 2:
            _bars(axes, np.where(chosen, np.take(_SIGN_OF_TWO, predicted), 0), color, _HATCH if color == WRONG else "")
        else:
            positions = np.flatnonzero(chosen)
            marks = axes.scatter(positions, predicted[chosen], color=color, s=20, marker="x" if color == WRONG else "|")
            marks.set_rasterized(len(truth) > _MAX_VECTOR_ITEMS)
    _mark_predicted(axes, labels)
    _mark_classes(axes, truth, labels)
    axes.set_title(
        f"{evaluation.part} images: {evaluation.correct} of {len(truth)} correct ({percent(evaluation.accuracy, 2)})"
    )
    wrong = _patch(WRONG, "wrong", _HATCH) if len(labels) == 2 else _mark(WRONG, "wrong", "x")
    right = _patch(RIGHT, "correct") if len(labels) == 2 else _mark(RIGHT, "correct", "|")
    axes.legend(handles=[right, wrong], loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def probabilities(evaluation: Evaluation, labels: Sequence[str]) -> Figure:
    """Stacked bars of the class probabilities per image, the first class at the bottom, a red line at 0.5.

    More classes than there are colours are drawn as three: the true one, the most probable other one, the rest.
    """
    order = _by_truth(evaluation)
    values, truth = evaluation.probabilities[order], evaluation.truth[order]
    if len(labels) <= _MAX_COLORS:
        colors = matplotlib.colormaps["tab20" if len(labels) > 2 else "Paired"]
        layers = [(name, to_hex(colors(i % colors.N)), values[:, i]) for i, name in enumerate(short(labels))]
    else:
        layers = _true_and_other(values, truth)
    figure = Figure(figsize=(9, max(3.6, 1 + _LEGEND_ROW_IN * len(layers))), layout="constrained")
    axes = figure.subplots()
    edges, bottom = np.arange(len(order) + 1) - 0.5, np.zeros(len(order))
    several = 2 < len(labels) <= _MAX_COLORS
    patches = []
    for place, (_, color, heights) in enumerate(layers):
        baseline: Any = bottom  # an array, which the type information of matplotlib lacks
        hatch = _LAYER_HATCHES[place % len(_LAYER_HATCHES)] if several else ""
        patch = StepPatch(bottom + heights, edges, baseline=baseline, fill=True, facecolor=color,
                          edgecolor="white" if hatch else color, linewidth=0, hatch=hatch)  # fmt: skip
        patch.set_rasterized(len(order) * len(layers) > _MAX_VECTOR_ITEMS)
        patches.append(patch)
        axes.add_artist(patch)  # not axes.stairs, which looks for the limits of each step: seconds for thousands
        bottom = bottom + heights
    axes.set_xlim(edges[0], edges[-1])
    axes.axhline(0.5, color="red", linewidth=1)
    _mark_classes(axes, truth, labels)
    axes.set_ylim(0, 1)
    axes.set_ylabel("probability")
    axes.set_title(f"{evaluation.part} images: class probabilities")
    name_in_legend(axes, patches[::-1], [name for name, _, _ in layers][::-1], title="class")
    return figure


def curves(history: Sequence[Epoch]) -> Figure:
    """Loss and accuracy over the epochs, of training and, where there is any, validation."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = [row.epoch for row in history]
    loss.plot(epochs, [row.train_loss for row in history], marker="o", label="training")
    accuracy.plot(epochs, [row.train_accuracy for row in history], marker="o", label="training")
    val = [(row.epoch, row.val_loss, row.val_accuracy) for row in history if row.val_loss is not None]
    if val:
        loss.plot([row[0] for row in val], [row[1] for row in val], "s--", label="validation")
        accuracy.plot([row[0] for row in val], [row[2] for row in val], "s--", label="validation")
    for axes, title in ((loss, "mean loss"), (accuracy, "accuracy")):
        axes.set_xlabel("epoch")
        axes.set_title(title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    loss.set_ylim(bottom=0)
    accuracy.set_ylim(top=1.02)
    return figure


def penalty(table: Sequence[StrengthTried], strength: float) -> Figure:
    """What cross-validation measured for each strength of the penalty, and the one that was chosen."""
    figure = Figure(figsize=(6.2, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.errorbar(
        [row.strength for row in table], [row.log_loss for row in table], yerr=[row.standard_error for row in table],
        marker="o", capsize=3, color="tab:blue", ecolor="tab:gray", label="held-out folds",
    )  # fmt: skip
    axes.axvline(strength, color="tab:orange", linestyle="--", label=f"chosen: {strength:.3g}")
    axes.set_xscale("log")
    axes.set_xlabel("strength of the L2 penalty")
    axes.set_title("cross-validated log-loss of the training images")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _by_truth(evaluation: Evaluation) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Images of one class side by side, in their own order."""
    return np.argsort(evaluation.truth, kind="stable")


def _height(classes: int) -> float:
    """Of a figure with a row per class, inches."""
    return min(max(3.6, 1.6 + 0.15 * classes), 9.0)


def _font_size(classes: int) -> float:
    """Of class names beside an axis, points."""
    return 10 if classes <= _MAX_COLORS else 7


def _mark_predicted(axes: matplotlib.axes.Axes, labels: Sequence[str]) -> None:
    """The predicted classes on the y axis, those that are never predicted too."""
    axes.set_ylabel("predicted class")
    if len(labels) == 2:
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_yticks(_SIGN_OF_TWO, short(labels))
        return
    names = short(labels) if len(labels) <= _MAX_NAMED else []
    axes.set_yticks(range(len(names)), names, fontsize=_font_size(len(labels)))
    axes.set_ylim(-0.6, len(labels) - 0.4)


def _mark_classes(axes: matplotlib.axes.Axes, truth: np.ndarray, labels: Sequence[str]) -> None:
    """Lines between the true classes, each class named below its images."""
    present = np.unique(truth)
    first = np.searchsorted(truth, present)
    end = np.append(first[1:], len(truth))
    axes.set_xlabel("true class")
    if len(present) > _MAX_NAMED:  # lines and names would cover the images
        axes.set_xticks([])
        axes.set_xlabel("images, in the order of their true classes")
    else:
        for boundary in first[1:]:
            axes.axvline(boundary - 0.5, color="red", linestyle="-.", linewidth=1)
        names = short([labels[i] for i in present])
        room = _CHARACTERS_ACROSS * (end - first) / len(truth)
        fits = all(len(name) + 1 <= characters for name, characters in zip(names, room, strict=True))
        axes.set_xticks((first + end - 1) / 2, names, rotation=0 if fits else 90, fontsize=_font_size(len(present)))
    axes.set_xlim(-0.6, len(truth) - 0.4)


def short(labels: Sequence[str]) -> list[str]:
    """Labels for an axis, cut where too long, control characters as escapes, which SVG has no place for.

    A dollar sign would start a formula in matplotlib.
    """
    shown = map(printable, labels)
    cut = (label if len(label) <= _MAX_CHARACTERS else label[: _MAX_CHARACTERS - 1] + "…" for label in shown)
    return [label.replace("$", r"\$") for label in cut]


def name_in_legend(axes: matplotlib.axes.Axes, handles: Sequence[Artist], names: Sequence[str], **style: Any) -> None:
    """A legend beside the axes. matplotlib leaves names that begin with an underscore out, so they are set last."""
    legend = axes.legend(
        handles, list(map(str, range(len(names)))), loc="upper left", bbox_to_anchor=(1, 1), frameon=False, **style
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)


def name_both_axes(axes: matplotlib.axes.Axes, labels: Sequence[str]) -> None:
    """Write the labels beside the rows and below the columns of a matrix, unless they are too many."""
    if len(labels) <= _MAX_NAMED_IN_MATRIX:
        axes.set_xticks(range(len(labels)), short(labels), rotation=90, fontsize=7)
        axes.set_yticks(range(len(labels)), short(labels), fontsize=7)


def _bars(axes: matplotlib.axes.Axes, heights: np.ndarray, color: str, hatch: str) -> None:
    """A bar per image, as one shape however many there are."""
    positions = np.arange(len(heights))
    edges = np.append(np.column_stack([positions - 0.4, positions + 0.4]).ravel(), len(heights) - 0.4)
    spaced = np.column_stack([heights, np.zeros_like(heights)]).ravel()
    bars = axes.stairs(spaced, edges, fill=True, facecolor=color, edgecolor="white" if hatch else color, hatch=hatch)
    bars.set_rasterized(len(heights) > _MAX_VECTOR_ITEMS)


def _true_and_other(values: Floats, truth: Ints) -> list[tuple[str, str, Floats]]:
    """The three layers that stand for many classes: name, colour, heights (N,)."""
    rows = np.arange(len(truth))
    others = values.copy()
    others[rows, truth] = 0
    true, other = values[rows, truth], others.max(axis=1)
    rest = np.maximum(0, 1 - true - other)
    return [("true class", RIGHT, true), ("best other class", WRONG, other), ("remaining classes", "0.85", rest)]


def _patch(color: str, label: str, hatch: str = "") -> Patch:
    return Patch(facecolor=color, edgecolor="white" if hatch else color, hatch=hatch, label=label)


def _mark(color: str, label: str, marker: str) -> Line2D:
    return Line2D([], [], color=color, marker=marker, linestyle="", label=label)
