"""tl_train.tables: aligned columns within 80 characters, whatever the cells hold."""

import csv

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tl_infer.text.safetext import printable
from tl_train.history import Epoch, table_header, table_row
from tl_train.tables import COLUMNS, aligned, write_csv


def test_names_are_flush_left_and_numbers_flush_right():
    assert aligned([("class", "train"), ("dog", "7"), ("cat", "1234567")], names=1) == [
        "class    train",
        "dog          7",
        "cat    1234567",
    ]


def test_an_epoch_is_aligned_with_the_header():
    header, row = table_header(), table_row(Epoch(1, 0.25, 0.5, None, None, 1.25))
    assert row.split() == ["1", "0.2500", "50.00%", "-", "-", "1.2"]
    assert len(header) == len(row) < COLUMNS
    assert header.index("val loss") + len("val loss") - 1 == row.index("-")


@given(st.lists(st.text(max_size=120), min_size=1, max_size=3))
@settings(max_examples=60)
def test_any_text_stays_one_row_of_plain_characters_and_keeps_the_width(names):
    lines = aligned([(name, "7") for name in names], names=1)
    assert sum(line.endswith("7") for line in lines) >= len(names)
    assert all(printable(line) == line and cell_len(line) <= COLUMNS for line in lines)


def test_markup_and_emoji_codes_are_text():
    assert aligned([("[bold]a[/bold] :cat:", "1")], names=1) == ["[bold]a[/bold] :cat:  1"]


def test_any_text_comes_back_from_a_csv_file(tmp_path):
    rows = [['a "b", c', "1"], ["x\ry", "2"], ["new\nline", "3"], ["caf\udce9", "4"]]
    write_csv(tmp_path / "t.csv", ("name", "n"), rows)
    with (tmp_path / "t.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert list(csv.reader(file)) == [["name", "n"], *rows]
