"""What the figures show can be had without colours, and without seeing them."""

import html.parser
import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from tl_train.evaluation.answers import Answers
from tl_train.evaluation.metrics import Evaluation
from tl_train.head.cross_validation import StrengthTried
from tl_train.history import Epoch
from tl_train.report import alt_texts, figures
from tl_train.report.drawing import Described
from tl_train.report.page import Page, render

# Of four images the third is wrong, and the model is sure of that.
LOGITS = np.log(np.array([[0.9, 0.1], [0.8, 0.2], [0.9, 0.1], [0.4, 0.6]], np.float32))
EVALUATION = Evaluation("test", Answers(LOGITS, np.array([0, 0, 1, 1])), None)
LABELS = ["dog", "cat"]


def test_the_words_say_what_the_figures_show():
    assert alt_texts.of_classification(EVALUATION, LABELS) == (
        "A mark per image: 3 predicted correctly, 1 wrong. Most frequent error: cat predicted as dog (1)."
    )
    assert "right 77%, where it is wrong 90%" in alt_texts.of_probabilities(EVALUATION)
    history = [Epoch(1, 0.7, 0.5, None, None, 1.0), Epoch(2, 0.25, 0.75, 0.4, 0.6, 1.0)]
    said = alt_texts.of_curves(history)
    assert "loss from 0.700 to 0.250 and accuracy from 50.0% to 75.0% in 2 epochs" in said
    assert said.endswith("Validation loss at the end 0.400, accuracy 60.0%.")
    tried = [StrengthTried(1.0, 0.5, 0.1), StrengthTried(0.1, 0.2, 0.1)]
    assert alt_texts.of_penalty(tried, 0.1) == (
        "Log-loss 0.200 at strength 0.1, 0.500 at 1; chosen is 0.1, with 0.200."
    )
    assert "90% confident: 1 of 2 right" in alt_texts.of_reliability(EVALUATION)
    assert alt_texts.of_risk(EVALUATION).endswith("error rate 25.0% of all images, 50.0% of the most confident 50%.")


def test_nothing_wrong_names_no_error():
    right = Evaluation("test", Answers(LOGITS, np.array([0, 0, 0, 1])), None)
    assert alt_texts.of_classification(right, LABELS) == "A mark per image: 4 predicted correctly, 0 wrong."
    assert "where it is wrong" not in alt_texts.of_probabilities(right)


class _Images(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.alts = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.alts.append(dict(attributes).get("alt"))


def test_every_image_of_the_report_has_a_text_that_is_no_file_name():
    words = alt_texts.of_classification(EVALUATION, LABELS)
    page = Page(
        title="t", labels=LABELS, history=[Epoch(1, 0.7, 0.5, None, None, 1.0)], facts={}, evaluation=EVALUATION,
        figures={"caption": Described(figures.classification(EVALUATION, LABELS), words)},
        names=[f"{number}.png" for number in range(4)], load=lambda index: np.zeros((20, 20, 3), np.uint8),
    )  # fmt: skip
    alts = _Images(render(page)).alts
    assert words in alts
    assert "Image of true class cat" in alts
    assert len(alts) >= 8
    assert not [alt for alt in alts if not alt or ".png" in alt]


@pytest.mark.parametrize("classes", [2, 3])
def test_right_and_wrong_differ_in_more_than_colour(classes):
    labels = ["dog", "cat", "fox"][:classes]
    logits = np.eye(classes, dtype=np.float32)[[0, 1, 0, 1]]
    figure = figures.classification(Evaluation("test", Answers(logits, np.array([0, 1, 1, 0])), None), labels)
    right, wrong = figure.axes[0].get_legend().legend_handles
    if classes == 2:
        assert (right.get_hatch() or "") != wrong.get_hatch()
    else:
        assert right.get_marker() != wrong.get_marker()


@pytest.mark.parametrize("classes", [2, 20])
def test_neighbouring_classes_differ_in_lightness_or_hatch(classes):
    random = np.random.default_rng(0)
    evaluation = Evaluation("test", Answers(random.normal(size=(40, classes)), random.integers(0, classes, 40)), None)
    figure = figures.probabilities(evaluation, [str(number) for number in range(classes)])
    looks = [
        (round(float(np.dot(to_rgba(patch.get_facecolor())[:3], (0.2126, 0.7152, 0.0722))), 1), patch.get_hatch() or "")
        for patch in figure.axes[0].get_legend().legend_handles
    ]
    assert all(one != next_one for one, next_one in itertools.pairwise(looks))


def test_images_that_the_model_is_equally_sure_of_are_no_half():
    alike = Evaluation("test", Answers(np.zeros((4, 2), np.float32), np.array([0, 0, 0, 1])), None)
    assert alt_texts.of_risk(alike).endswith("25.0% of the most confident 100%.")
