import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.loading import Notes
from tl_train import TrainConfig
from tl_train.errors import ConfigError, WeightsError
from tl_train.prior.prior import Match, Prior, find_prior
from tl_train.prior.wordnet import IMAGENET_CLASSES, look_up, row_name
from tl_train.run.prepare import prior_for


def test_dogs_and_cats_are_what_imagenet_knows_of_them():
    finding = find_prior("auto", ("dog", "cat"))
    dog, cat = finding.prior.matches
    assert dog.rows == tuple(range(151, 269))
    assert cat.rows == tuple(range(281, 288))
    assert (dog.names[0], cat.names[0]) == ("Chihuahua", "tabby")
    assert cat.meanings == ("cat, true cat (n02121620)",)
    assert finding.notes[1].startswith("dog: dog, domestic dog, Canis familiaris (n02084071), 118 ImageNet classes")


def test_the_table_orders_the_classes_as_timm_does():
    from timm.data import ImageNetInfo

    wnids = ImageNetInfo().label_names()
    assert len(wnids) == IMAGENET_CLASSES
    for row, wnid in enumerate(wnids):
        assert row in look_up(wnid).rows
        assert look_up(wnid).words[0] == row_name(row)


@pytest.mark.parametrize(
    ("word", "first_word", "rows"),
    [
        ("Dogs", "dog", 118),
        ("domestic-dog", "dog", 118),
        ("  GOLDEN__Retrievers ", "golden retriever", 1),
        ("mice", "mouse", 1),  # the computer's: the animal has no class; the mapping that is printed says so
        ("wolves", "wolf", 4),
        ("foxes", "fox", 4),
        ("fungi", "fungus", 7),
        ("butterflies", "butterfly", 6),
        ("plane", "airplane", 1),  # its most frequent meaning, though carpenters have planes too
        ("cars", "car", 10),
        ("big cat", "big cat", 6),
        ("n02084071", "dog", 118),
    ],
)
def test_names_are_understood(word, first_word, rows):
    found = look_up(word)
    assert (found.words[0], len(found.rows)) == (first_word, rows)


def test_a_word_of_two_meanings_is_ambiguous():
    with pytest.raises(
        ConfigError, match=r"'cranes' is ambiguous: crane \(n03126707\); crane \(n02012849\); say which"
    ):
        look_up("cranes")


@given(st.text(max_size=30))
def test_any_text_is_a_class_name(text):
    try:
        found = look_up(text)
    except ConfigError:
        return
    assert found.rows


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (("dog", "8"), "'8' names no class of ImageNet"),
        (("dog", "tabby", "animal"), r"class 151 \(Chihuahua\) is claimed by 'dog' and by 'animal'"),
        (("dog", "crane"), "'crane' is ambiguous"),
    ],
)
def test_names_that_do_not_say_enough_are_not_used_and_said(labels, reason):
    finding = find_prior("auto", labels)
    assert finding.prior is None
    (note,) = finding.notes
    assert note.startswith("Prior: not used")
    assert re.search(reason, note)


def test_none_says_nothing():
    assert find_prior("none", ("dog", "cat")) == find_prior("none", ())


def test_a_file_gives_names_ids_and_rows(tmp_path):
    path = tmp_path / "prior.toml"
    path.write_text('bark = ["dogs", "n02114367", 277]\n"my cat" = [281]\n')
    prior = find_prior(str(path), ("my cat", "bark")).prior
    cat, bark = prior.matches
    assert (cat.label, cat.rows, cat.names) == ("my cat", (281,), ("tabby",))
    assert bark.rows == (*range(151, 270), 277)  # the timber wolf is row 269, the red fox 277
    saved = json.loads(prior.to_json())
    assert saved["rule"] == "file"
    assert saved["matches"][0]["names"] == ["tabby"]


def test_a_class_in_a_file_may_be_written_decomposed(tmp_path):
    path = tmp_path / "prior.toml"
    path.write_text('"cafe\u0301" = [967]\ndog = ["dog"]\n')
    assert find_prior(str(path), ("caf\u00e9", "dog")).prior.matches[0].rows == (967,)
    path.write_text('"cafe\u0301" = [967]\n"caf\u00e9" = [968]\n')
    with pytest.raises(ConfigError, match="class 'caf\u00e9' is there twice, composed and decomposed"):
        find_prior(str(path), ("caf\u00e9",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = [", "prior.toml: not valid TOML"),
        ("a = [1]", "prior.toml: no entry for the class 'b'"),
        ("a = [1]\nb = [2]\nc = [3]", "prior.toml: 'c' is no class; the classes are a, b"),
        ("a = [1]\nb = 2", "prior.toml: b: found 2, expected a list"),
        ("a = [1]\nb = [1000]", "prior.toml: b: found 1000, expected .* 0 to 999"),
        ("a = [1]\nb = [true]", "prior.toml: b: found True"),
        ("a = [1]\nb = []", "prior.toml: class 'b': no ImageNet class"),
        ("a = [1]\nb = [1]", r"prior.toml: ImageNet class 1 \(goldfish\) is claimed by 'a' and by 'b'"),
        ('a = [1]\nb = ["gizmo"]', "prior.toml: 'gizmo' names no class"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, text, message):
    (tmp_path / "prior.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        find_prior(str(tmp_path / "prior.toml"), ("a", "b"))


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"prior automatic: cannot be read: .* expected auto, none or a TOML file"):
        find_prior("automatic", ("a", "b"))


def test_the_head_is_the_mean_of_the_rows():
    weight = np.arange(3000, dtype=np.float32).reshape(1000, 3)
    prior = Prior("file", (Match("a", ("",), (0, 2), ("", "")), Match("b", ("",), (5,), ("",))))
    head, bias = prior.head(weight, weight[:, 0])
    np.testing.assert_array_equal(head, [[3, 4, 5], [15, 16, 17]])
    np.testing.assert_array_equal(bias, [3, 15])
    with pytest.raises(ConfigError, match="the pretrained head has 10 outputs, expected ImageNet's 1000"):
        prior.head(weight[:10], weight[:10, 0])


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"multi_label": True}, "Prior: not used, each label's head is pulled towards zero where images have several."),
        ({"weights": "none"}, "Prior: not used, random weights know no classes."),
        ({"head_fit": "sgd"}, "Prior: not used, only the penalised head is pulled towards one (--head-fit penalised)."),
        ({}, "Prior: not used, the weights come without a head that fits, so they know no classes."),
    ],
)
def test_why_no_prior_is_used_is_told(fields, note):
    notes = Notes()
    assert prior_for(TrainConfig.of("pictures", **fields), None, ("dog", "cat"), notes) is None
    assert notes.lines == [note]


def test_a_prior_that_was_asked_for_needs_a_head(tmp_path):
    (tmp_path / "prior.toml").write_text('dog = ["dog"]\ncat = ["cat"]\n')
    with pytest.raises(WeightsError, match=r"weights default: no pretrained head, .*; use --prior none"):
        prior_for(TrainConfig.of("pictures", prior=str(tmp_path / "prior.toml")), None, ("dog", "cat"), Notes())
