"""tl_train.evaluation.label_errors: against cleanlab, and on labels that were flipped here."""

import numpy as np
import pytest

from tl_train.evaluation.answers import Answers
from tl_train.evaluation.label_errors import find_label_errors


def noisy_answers(seed, flipped=0.1, images=400, classes=5):
    """Answers of a fair model to images of which some labels were flipped, and which those are."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, images)
    logits = random.normal(size=(images, classes))
    logits[np.arange(images), truth] += 3
    is_flipped = random.random(images) < flipped
    labels = np.where(is_flipped, (truth + random.integers(1, classes, images)) % classes, truth)
    return Answers(logits, labels), is_flipped


@pytest.mark.parametrize("seed", range(4))
def test_suspects_and_their_number_are_those_of_cleanlab(seed):
    count, rank = pytest.importorskip("cleanlab.count"), pytest.importorskip("cleanlab.rank")
    answers, _ = noisy_answers(seed)
    found = find_label_errors(answers)
    probabilities = answers.probabilities()
    differs = probabilities.argmax(axis=1) != answers.truth
    order = rank.order_label_issues(differs, answers.truth, probabilities, rank_by="self_confidence")
    assert [suspect.index for suspect in found.suspects] == order.tolist()
    assert found.estimated == count.num_label_issues(answers.truth, probabilities)


def test_flipped_labels_come_first_and_are_counted():
    answers, is_flipped = noisy_answers(7)
    found = find_label_errors(answers)
    first = [suspect.index for suspect in found.suspects[: is_flipped.sum()]]
    assert is_flipped[first].mean() > 0.9
    assert found.estimated == pytest.approx(is_flipped.sum(), rel=0.25)
    assert found.images == 400


def test_what_a_suspect_says_is_what_the_model_says():
    answers, _ = noisy_answers(3)
    probabilities = answers.probabilities()
    for suspect in find_label_errors(answers).suspects:
        row = probabilities[suspect.index]
        assert suspect.label == answers.truth[suspect.index]
        assert suspect.suggested == row.argmax() != suspect.label
        assert suspect.probability == row[suspect.label]
        assert suspect.margin == pytest.approx(row.max() - row[suspect.label])


def test_a_label_that_somebody_has_settled_is_no_suspect():
    answers, _ = noisy_answers(5)
    before = find_label_errors(answers)
    after = find_label_errors(answers, settled=[before.suspects[0].index])
    assert after.suspects == before.suspects[1:]
    assert after.estimated == before.estimated - 1


def test_a_class_without_images_is_never_confident():
    answers, _ = noisy_answers(1)
    labels = np.where(answers.truth == 4, 0, answers.truth)
    assert find_label_errors(Answers(answers.logits, labels)).images == 400


def test_a_class_that_is_as_probable_as_the_label_is_not_more_probable():
    found = find_label_errors(Answers(np.zeros((4, 2)), np.array([0, 1, 1, 0])))
    assert (found.suspects, found.estimated) == ((), 0)
