"""What the figures show, in words: for those who cannot see them."""

from collections.abc import Sequence

import numpy as np

from tl_train.evaluation.metrics import Evaluation, percent
from tl_train.evaluation.multi_label import LabelEvaluation
from tl_train.evaluation.reliability import calibration_bins, risk_coverage
from tl_train.head.cross_validation import StrengthTried
from tl_train.history import Epoch


def of_classification(evaluation: Evaluation, labels: Sequence[str]) -> str:
    """How many images are right, and the most frequent error."""
    wrong = len(evaluation.truth) - evaluation.correct
    text = f"A mark per image: {evaluation.correct} predicted correctly, {wrong} wrong."
    if not wrong:
        return text
    counts = evaluation.errors
    true, predicted = divmod(int(counts.argmax()), len(labels))
    often = counts[true, predicted]
    return f"{text} Most frequent error: {labels[true]} predicted as {labels[predicted]} ({often})."


def of_probabilities(evaluation: Evaluation) -> str:
    """How sure the model is of the images that it has right, and of those that it has wrong."""
    means = [
        f"{name} {evaluation.confidence[chosen].mean():.0%}"
        for name, chosen in (("right", evaluation.right), ("wrong", ~evaluation.right))
        if chosen.any()
    ]
    return f"Stacked probabilities per image. Mean top probability where the model is {', where it is '.join(means)}."


def of_curves(history: Sequence[Epoch]) -> str:
    """The first and the last epoch."""
    first, last = history[0], history[-1]
    text = (
        f"Training loss from {first.train_loss:.3f} to {last.train_loss:.3f} and accuracy from "
        f"{first.train_accuracy:.1%} to {last.train_accuracy:.1%} in {last.epoch} epoch{'s' * (last.epoch > 1)}."
    )
    if last.val_loss is None or last.val_accuracy is None:
        return text
    return f"{text} Validation loss at the end {last.val_loss:.3f}, accuracy {last.val_accuracy:.1%}."


def of_penalty(table: Sequence[StrengthTried], strength: float) -> str:
    """The strongest, the weakest and the chosen penalty."""
    rows = sorted(table, key=lambda row: row.strength)
    chosen = min(rows, key=lambda row: abs(row.strength - strength))
    return (
        f"Log-loss {rows[0].log_loss:.3f} at strength {rows[0].strength:.3g}, {rows[-1].log_loss:.3f} at "
        f"{rows[-1].strength:.3g}; chosen is {strength:.3g}, with {chosen.log_loss:.3f}."
    )


def of_reliability(evaluation: Evaluation) -> str:
    """Confidence and accuracy of each bin, after calibration."""
    bins = calibration_bins(evaluation.confidence, evaluation.right)
    listed = "; ".join(f"{found.confidence:.0%} confident: {found.correct} of {found.pictures} right" for found in bins)
    return f"Reliability diagram. {listed}."


def of_risk(evaluation: Evaluation) -> str:
    """The error rate of all images, and of the more confident half, or more where the model is as sure of others."""
    curve = risk_coverage(evaluation.confidence, evaluation.right)
    half = int(np.searchsorted(curve.coverage, 0.5))
    risk, coverage = percent(float(curve.risk[half])), percent(float(curve.coverage[half]), 0)
    return (
        f"Risk-coverage curve: error rate {percent(float(curve.risk[-1]))} of all images, {risk} of the most "
        f"confident {coverage}."
    )


def of_precision_recall(evaluation: LabelEvaluation, labels: Sequence[str]) -> str:
    """The average precision of the best and the worst label."""
    known = [
        (score.average_precision, label)
        for score, label in zip(evaluation.scores, labels, strict=True)
        if score.average_precision is not None
    ]
    if not known:
        return "Precision-recall curves: no label can be judged."
    (worst, worst_label), (best, best_label) = min(known), max(known)
    return (
        f"Precision-recall curves. Average precision: highest {best:.3f} ({best_label}), lowest {worst:.3f} "
        f"({worst_label})."
    )
