"""Diagnostic figures: confusion matrix, reliability diagram, risk-coverage curve."""

from collections.abc import Sequence

import matplotlib.axes
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tl_train.evaluation.metrics import Evaluation, percent, wilson_interval
from tl_train.evaluation.reliability import calibration_bins, risk_coverage
from tl_train.report.figures import RIGHT, WRONG, name_both_axes


def confusion(evaluation: Evaluation, labels: Sequence[str]) -> Figure:
    """The confusion matrix as an image, a row per true class scaled to its images; for many classes."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    counts = evaluation.confusion
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    name_both_axes(axes, labels)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    figure.colorbar(image, shrink=0.7, label="fraction of the true class", format=PercentFormatter(1))
    return figure


def reliability(evaluation: Evaluation) -> Figure:
    """The reliability diagram, accuracy against confidence; before and after calibration where that changes it."""
    panels = [("before calibration", evaluation.before()), ("after calibration", evaluation)]
    if not evaluation.calibrated:
        panels = [("not calibrated" if evaluation.temperature is None else "temperature 1", evaluation)]
    figure = Figure(figsize=(4.5 * len(panels), 4.2), layout="constrained")
    for axes, (title, answers) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _reliability(axes, answers)
        axes.set_title(f"{title}\nexpected calibration error {answers.calibration_error:.3f}", fontsize=11)
    return figure


def risk(evaluation: Evaluation, abstain_below: float | None) -> Figure:
    """The risk-coverage curve, error rate against share of images answered, with the abstention threshold."""
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    curve = risk_coverage(evaluation.confidence, evaluation.right)
    axes.plot(
        curve.coverage, curve.risk, color=RIGHT, drawstyle="steps-post", marker="." if len(curve.risk) < 3 else ""
    )
    if abstain_below is not None and (answered := evaluation.confidence >= abstain_below).any():
        point = (float(answered.mean()), float((~evaluation.right[answered]).mean()))
        axes.plot(*point, "o", color=WRONG, clip_on=False, zorder=3)
        # A white ground keeps the words readable where the curve runs under them.
        axes.annotate(
            f"threshold {percent(abstain_below, 2)}", point, textcoords="offset points", xytext=(-8, 8), ha="right",
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.9},
        )  # fmt: skip
    axes.set(xlabel="coverage: images answered, most confident first", ylabel="risk: error rate", xlim=(0, 1.01))
    axes.set_ylim(0, max(0.05, 1.15 * float(curve.risk.max())))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    return figure


def _reliability(axes: matplotlib.axes.Axes, evaluation: Evaluation) -> None:
    """Points with their 95% intervals on the diagonal of perfect calibration, and how many images each stands for."""
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
    bins = calibration_bins(evaluation.confidence, evaluation.right)
    intervals = [wilson_interval(group.correct, group.pictures) for group in bins]
    x = np.array([group.confidence for group in bins])
    y = np.array([group.accuracy for group in bins])
    error = [y - [interval.low for interval in intervals], [interval.high for interval in intervals] - y]
    axes.errorbar(x, y, yerr=np.maximum(0, error), fmt="o", color=RIGHT, ecolor="0.55", elinewidth=1, capsize=2)
    counts = [group.pictures for group in bins]
    # A quiet histogram at the foot: how many images are in each bin, the fullest a fifth of the height.
    axes.bar(
        [group.low for group in bins], 0.2 * np.array(counts) / max(counts), color="0.88", align="edge", zorder=0,
        width=[group.high - group.low for group in bins],
    )  # fmt: skip
    axes.set(xlim=(0, 1.01), ylim=(0, 1.03), xlabel="confidence (top probability)", ylabel="accuracy")
    axes.set_aspect("equal")
