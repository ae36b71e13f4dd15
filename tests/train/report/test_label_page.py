"""tl_train.report.label_page: what it says of labels that no held-out image has, and without a fit."""

import numpy as np

from tl_train.evaluation.label_decisions import LabelDecisions
from tl_train.evaluation.multi_label import LabelAnswers, LabelEvaluation
from tl_train.history import Epoch
from tl_train.report.label_page import LabelPage, render_label_page


def page_of(targets, fitted_on=40):
    """The page of a run on images with these targets, whose logits are right."""
    targets = np.array(targets, np.float32)
    ones = np.ones(targets.shape[1])
    evaluation = LabelEvaluation("test", LabelAnswers(4 * targets - 2, targets), ones, 0.5 * ones)
    decisions = LabelDecisions(ones, 0.5 * ones, fitted_on, "validation images", ("A note.",))
    labels = [f"label {number}" for number in range(len(ones))]
    history = [Epoch(1, 0.7, 0.5, None, None, 1.0)]
    page = LabelPage(
        title="a run", labels=labels, history=history, figures={}, facts={}, decisions=decisions, evaluation=evaluation
    )
    return render_label_page(page)


def test_the_mean_is_of_the_labels_that_have_an_average_precision():
    assert "(mAP) over the 2 labels on the 2 test images" in page_of([[1, 0], [0, 1]])
    assert "(mAP) over 1 of the 2 labels, those that a test image has, on the 2 test" in page_of([[1, 0], [0, 0]])


def test_nothing_was_fitted_on_no_images():
    assert "fitted on 40 validation images. A note." in page_of([[1, 0], [0, 1]])
    text = page_of([[1, 0], [0, 1]], fitted_on=0)
    assert "fitted on" not in text
    assert "A note." in text
