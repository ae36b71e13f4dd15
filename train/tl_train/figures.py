"""The chapter's three figures, for any number of classes, as PNG bytes."""

import io
import warnings
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tl_train.history import Epoch
from tl_train.metrics import Evaluation

_DPI = 120
_SIGN_OF_TWO = (1, -1)  # the chapter draws the first class upwards, the second downwards


def classification(evaluation: Evaluation, labels: Sequence[str]) -> bytes:
    """A bar per picture with its predicted class, and red dash-dotted lines between the true classes.

    Two classes are drawn as in the chapter, +1 and -1; with more, each class has its own height.
    """
    figure, order = Figure(figsize=(9, 3.6), layout="constrained"), _by_truth(evaluation)
    axes = figure.subplots()
    predicted, truth = evaluation.predicted[order], evaluation.truth[order]
    positions = np.arange(len(order))
    colors = np.where(predicted == truth, "tab:blue", "tab:orange")
    if len(labels) == 2:
        axes.bar(positions, np.take(_SIGN_OF_TWO, predicted), color=colors, width=0.8)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_yticks(_SIGN_OF_TWO, _short(labels))
    else:
        axes.scatter(positions, predicted, c=colors, s=14, marker="|")
        axes.set_yticks(range(len(labels)), _short(labels))
    _mark_classes(axes, truth, labels)
    axes.set_ylabel("predicted")
    axes.set_title(
        f"{evaluation.part} pictures: {evaluation.correct} of {len(truth)} right ({evaluation.accuracy:.2%})"
    )
    axes.legend(handles=[_patch("tab:blue", "right"), _patch("tab:orange", "wrong")], loc="upper left",
                bbox_to_anchor=(1, 1))  # fmt: skip
    return _png(figure)


def probabilities(evaluation: Evaluation, labels: Sequence[str]) -> bytes:
    """Stacked bars of the class probabilities per picture, the first class at the bottom, a red line at 0.5."""
    figure, order = Figure(figsize=(9, 3.6), layout="constrained"), _by_truth(evaluation)
    axes = figure.subplots()
    positions, bottom = np.arange(len(order)), np.zeros(len(order))
    colors = matplotlib.colormaps["tab20" if len(labels) > 2 else "Paired"]
    for index, label in enumerate(_short(labels)):
        heights = evaluation.probabilities[order, index]
        axes.bar(positions, heights, bottom=bottom, width=1.0, color=colors(index % colors.N), label=label)
        bottom += heights
    axes.axhline(0.5, color="red", linewidth=1)
    _mark_classes(axes, evaluation.truth[order], labels)
    axes.set_ylim(0, 1)
    axes.set_ylabel("probability")
    axes.set_title(f"{evaluation.part} pictures: class probabilities")
    if len(labels) <= 20:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), title="class", reverse=True)
    return _png(figure)


def curves(history: Sequence[Epoch]) -> bytes:
    """Loss and accuracy over the epochs, of training and, where there is any, validation."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = [row.epoch for row in history]
    loss.plot(epochs, [row.train_loss for row in history], marker="o", label="training")
    accuracy.plot(epochs, [row.train_accuracy for row in history], marker="o", label="training")
    val = [(row.epoch, row.val_loss, row.val_accuracy) for row in history if row.val_loss is not None]
    if val:
        loss.plot([row[0] for row in val], [row[1] for row in val], marker="s", label="validation")
        accuracy.plot([row[0] for row in val], [row[2] for row in val], marker="s", label="validation")
    for axes, title in ((loss, "mean cross-entropy"), (accuracy, "accuracy")):
        axes.set_xlabel("epoch")
        axes.set_title(title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    loss.set_ylim(bottom=0)
    accuracy.set_ylim(top=1.02)
    return _png(figure)


def _by_truth(evaluation: Evaluation) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Pictures of one class side by side, in their own order."""
    return np.argsort(evaluation.truth, kind="stable")


def _mark_classes(axes: matplotlib.axes.Axes, truth: np.ndarray, labels: Sequence[str]) -> None:
    """Lines between the true classes, each class named below its pictures."""
    present = np.unique(truth)
    first = np.searchsorted(truth, present)
    end = np.append(first[1:], len(truth))
    for boundary in first[1:]:
        axes.axvline(boundary - 0.5, color="red", linestyle="-.", linewidth=1)
    names = _short(labels)
    rotation = 90 if len(present) > 12 else 0
    axes.set_xticks((first + end - 1) / 2, [names[i] for i in present], rotation=rotation)
    axes.set_xlim(-0.6, len(truth) - 0.4)
    axes.set_xlabel("true class")


def _short(labels: Sequence[str], limit: int = 18) -> list[str]:
    """Labels for an axis. A dollar sign would start a formula in matplotlib."""
    cut = (label if len(label) <= limit else label[: limit - 1] + "…" for label in labels)
    return [label.replace("$", r"\$") for label in cut]


def _patch(color: str, label: str) -> matplotlib.patches.Patch:
    return matplotlib.patches.Patch(color=color, label=label)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A script that the font lacks shows as boxes; a warning would not help whoever reads the report.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
