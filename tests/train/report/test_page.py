"""tl_train.report.page: one file, the same each time, of a bearable size, whatever the classes are called."""

import dataclasses

import numpy as np
import pytest

from tl_train.evaluation.answers import Answers
from tl_train.evaluation.calibration import Calibration
from tl_train.evaluation.metrics import Evaluation
from tl_train.head.cross_validation import StrengthTried
from tl_train.history import Epoch
from tl_train.report import alt_texts, figures
from tl_train.report.drawing import Described
from tl_train.report.page import Page, render


def page(classes: int, pictures: int) -> Page:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(classes), pictures).astype(np.float32)
    truth = random.integers(0, classes, pictures)
    labels = ["<b>dog</b> & co", *(f"class {i}" for i in range(1, classes))]
    evaluation = Evaluation("test", Answers(np.log(probabilities + 1e-30), truth), 1.5)
    history = [Epoch(1, 0.7, 0.5, 0.6, 0.6, 1.0), Epoch(2, 0.5, 0.7, None, None, 1.0)]
    return Page(
        title="a run",
        labels=labels,
        history=history,
        figures={
            "curves": Described(figures.curves(history), alt_texts.of_curves(history)),
            "which": Described(
                figures.classification(evaluation, labels), alt_texts.of_classification(evaluation, labels)
            ),
        },
        facts={"seed": 0},
        evaluation=evaluation,
        calibration=Calibration(1.5, 0.5, 40, "validation pictures"),
        names=[f"<i>{i}.png" for i in range(pictures)],
        load=lambda index: np.full((300, 400, 3), index % 256, np.uint8),
        warnings=["two pictures <are> the same"],
        command="tl-train x --out 'y & z'",
    )


@pytest.mark.parametrize(("classes", "pictures"), [(2, 80), (10, 400), (120, 1200)])
def test_the_page_is_whole_small_and_the_same_each_time(classes, pictures):
    text = render(page(classes, pictures))
    assert text == render(page(classes, pictures))
    assert len(text) < 3_000_000
    assert "<b>dog</b>" not in text
    assert "<i>" not in text
    assert "&lt;b&gt;dog" in text
    for reference in ("http://", "https://", "<script", "<link"):  # nothing from elsewhere; SVGs are data URIs
        assert reference not in text


def test_a_page_without_held_out_pictures_says_so():
    history = [Epoch(1, 0.7, 0.5, None, None, 1.0)]
    text = render(Page(title="t", labels=["a", "b"], history=history, figures={}, facts={}))
    assert "No images were held out" in text


def test_the_penalty_s_figure_marks_the_choice():
    drawn = figures.penalty([StrengthTried(1.0, 0.5, 0.1), StrengthTried(0.1, 0.2, 0.1)], 0.1)
    (axes,) = drawn.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["chosen: 0.1", "held-out folds"]


def test_caveats_stand_in_place_of_the_promise():
    plain = page(2, 10)
    assert "Expect an accuracy in this range" in render(plain)
    text = render(dataclasses.replace(plain, caveats=["The images are of 3 groups."]))
    assert "Expect an accuracy in this range" not in text
    assert "</strong>.  The images are of 3 groups.</p>" in text


def test_no_list_of_errors_is_promised_where_none_was_made_twice():
    many = page(30, 60)
    truth = np.arange(30).repeat(2)
    right = np.eye(30, dtype=np.float32)[truth] * 9
    text = render(dataclasses.replace(many, evaluation=Evaluation("test", Answers(right, truth))))
    assert "Confusion matrix; no error was made more than once, all counts" in text
    wrong = np.roll(right, 1, axis=1)
    text = render(dataclasses.replace(many, evaluation=Evaluation("test", Answers(wrong, truth))))
    assert "Confusion matrix; the most frequent errors are listed below, all counts" in text
    assert "Most frequent errors: " in text
