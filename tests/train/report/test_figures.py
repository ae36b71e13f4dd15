import warnings
import xml.dom.minidom

import numpy as np
import pytest

from tl_train.evaluation.answers import Answers
from tl_train.evaluation.metrics import Evaluation
from tl_train.report import diagnostics, figures
from tl_train.report.drawing import png, svg


@pytest.mark.parametrize(("classes", "images"), [(2, 3), (3, 90), (20, 2000), (21, 100), (120, 600)])
def test_the_axes_keep_their_room_for_any_number_of_classes(classes, images):
    random = np.random.default_rng(0)
    evaluation = Evaluation(
        "test",
        Answers(random.normal(size=(images, classes)).astype(np.float32), random.integers(0, classes, images)),
        None,
    )
    labels = [f"a class with a name {number}" for number in range(classes)]
    for draw in (figures.classification, figures.probabilities, diagnostics.confusion):
        figure = draw(evaluation, labels)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # matplotlib warns where a layout has collapsed
            assert png(figure).startswith(b"\x89PNG")
            assert b"<svg" in svg(figure)
        box = figure.axes[0].get_position()
        assert box.height > 0.3
        assert box.width > 0.3


@pytest.mark.parametrize("labels", [["_a", "b"], ["_a", "_b"], ["a\x1b", "b\n"], ["$", "\ufffe"]])
def test_a_label_of_any_characters_is_in_the_legend_and_leaves_the_svg_whole(labels):
    random = np.random.default_rng(0)
    evaluation = Evaluation("test", Answers(random.normal(size=(9, 2)), np.arange(9) % 2), None)
    figure = figures.probabilities(evaluation, labels)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == figures.short(labels)[::-1]
    for draw in (figures.classification, figures.probabilities, diagnostics.confusion):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            xml.dom.minidom.parseString(svg(draw(evaluation, labels)))
