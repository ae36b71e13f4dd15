import pytest

from tl_infer.errors import ImageError, and_more, first_line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  one \n"), "one"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 1000), "x" * 200),
        (FileNotFoundError(2, "No such file or directory", "a.png"), "No such file or directory"),
        (OSError("image file is truncated"), "image file is truncated"),
        (OSError(), "OSError"),
        (ImageError("a.png", "damaged"), "a.png: damaged"),
    ],
)
def test_the_first_line_of_an_error(error, said):
    assert first_line(error) == said


def test_what_is_not_shown_is_counted():
    assert and_more([], 2) == ""
    assert and_more(["a", "b"], 2) == "a, b"
    assert and_more(("a", "b", "c", "d"), 2) == "a, b, and 2 more"
    assert and_more("abc", 2, " = ") == "a = b = and 1 more"
