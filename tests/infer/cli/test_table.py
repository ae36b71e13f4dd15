from hypothesis import given
from hypothesis import strategies as st

from tl_infer import Classification, ImageError, Score
from tl_infer.cli.output.rows import Row, make_row
from tl_infer.cli.table import display_width, tab_line, table_lines

TOP = (Score("cat", 0.75), Score("dog", 0.25))


def test_a_table_has_a_line_per_class_and_bars_in_proportion():
    lines = table_lines(make_row("photos/a.png", Classification(TOP)), ["cat", "dog"], 80)
    assert lines[0].endswith(" 75.00%  photos/a.png")
    assert lines[1].split() == ["dog", "████", "25.00%"]
    assert lines[0].count("█") == 12


def test_an_unsure_picture_names_what_it_may_be():
    lines = table_lines(make_row("a.png", Classification(TOP, abstained=True)), ["cat", "dog"], 80)
    assert [line.split()[0] for line in lines] == ["(unsure)", "cat", "dog"]
    assert tab_line(make_row("a\t.png", Classification(TOP, abstained=True))).split("\t") == [
        r"a\t.png", "(unsure)", "75.00%", "cat", "75.00%", "dog", "25.00%",
    ]  # fmt: skip
    assert tab_line(make_row("a.png", ImageError("a.png", "no\x1bpicture"))) == "a.png\t(error)\t\tno\\x1bpicture"


def test_the_columns_stand_below_each_other_whatever_the_model_says():
    sure, unsure, unfamiliar = (
        Classification(TOP, familiarity=familiarity, abstained=familiarity < 0.5, reason=reason)
        for familiarity, reason in ((0.9, None), (0.4, "unsure"), (0.01, "unfamiliar"))
    )
    lines = [table_lines(make_row("a.png", result), ["cat", "dog"], 80)[0] for result in (sure, unsure, unfamiliar)]
    assert lines[2].startswith("(unfamiliar)  █")
    assert {line.index("█") for line in lines} == {14}
    assert {line.index("75.00%") for line in lines} == {lines[0].index("75.00%")}


def test_a_file_that_cannot_be_read_has_a_line_too():
    row = make_row("notes.txt", ImageError("notes.txt", "not an image"))
    assert table_lines(row, ["cat", "dog"], 80) == ["(error)   notes.txt: not an image"]


@given(path=st.text(min_size=1), label=st.text(min_size=1), width=st.integers(40, 200))
def test_no_line_of_a_table_is_wider_than_the_terminal(path, label, width):
    row = Row(path=path, label=label, probability=0.5, top=(Score(label, 0.5),))
    for line in table_lines(row, [label], width):
        assert display_width(line) <= width
        assert line.isprintable() or "\u200c" in line or "\u200d" in line or any(c.isspace() for c in line)
