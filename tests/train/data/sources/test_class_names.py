import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_train.data.sources.class_names import appearance, difference, normal_name


@given(st.text(max_size=20))
def test_a_name_and_its_other_forms_are_one_name_and_look_the_same(name):
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, name)
        assert normal_name(other) == normal_name(name)
        assert appearance(other) == appearance(name)
    assert normal_name(normal_name(name)) == normal_name(name)


@pytest.mark.parametrize(
    ("first", "second"),
    [("dog", "Dog"), ("a b", "a\u00a0b"), ("ab", "a\u200bb"), ("Bus", "\u0412us"), ("a", "\uff41"), ("fi", "\ufb01")],
)
def test_names_that_look_alike_are_known(first, second):
    assert appearance(first) == appearance(second)


def test_names_that_a_reader_can_tell_apart_are_not_alike():
    names = ["cat", "cats", "c\u00e4t", "chat", "1", "l", "a-b", "ab"]
    assert len({appearance(name) for name in names}) == len(names)


def test_a_difference_names_the_characters_and_where_they_are():
    assert difference("a b", "a\u00a0b") == "U+0020 SPACE against U+00A0 NO-BREAK SPACE, at character 2"
    assert difference("cat", "catamaran") == (
        "nothing against U+0061 LATIN SMALL LETTER A U+006D LATIN SMALL LETTER M U+0061 LATIN SMALL LETTER A ..., "
        "at character 4"
    )
