from tl_infer.cli.output.rows import Row, Tally


def test_the_summary_has_a_line_per_class_of_which_the_last_are_lumped_together():
    tally = Tally()
    for number in range(30):
        tally.add(Row(path="x", label=f"class {number}"))
    tally.add(Row(path="x"))
    tally.add(Row(path="x", error="no picture"))
    lines = tally.lines()
    assert len(lines) == 22
    assert lines[19].split() == ["(11", "more", "classes)", "11", "34.4%"]
    assert [line.split()[0] for line in lines[20:]] == ["(unsure)", "(error)"]
