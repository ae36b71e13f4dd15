import io

import pytest

from tl_infer.cli.progress import Progress, progress_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("columns", "shown"), [("60", "100% "), ("12", "100% ███")])
def test_the_line_fits_the_terminal_and_is_cleared(monkeypatch, columns, shown):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("tl_infer.cli.progress._INTERVAL_S", 0)
    terminal, width = Terminal(), int(columns) - 1
    progress = Progress(terminal, 2, visible=True)
    progress.advance(1)
    progress.advance(1)
    progress.close()
    _, half, whole, nothing, end = terminal.getvalue().split("\r")
    assert half.startswith(" 50% ")
    assert whole.startswith(shown)
    assert {len(half), len(whole), len(nothing)} == {width}
    assert (nothing.strip(), end) == ("", "")


@pytest.mark.parametrize(("stream", "visible"), [(io.StringIO, True), (Terminal, False)])
def test_a_log_gets_no_progress_and_nobody_does_who_wants_none(stream, visible):
    output = stream()
    progress = Progress(output, 2, visible=visible)
    progress.advance(2)
    progress.close()
    assert output.getvalue() == ""


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [(50, 200, "50/200  10.0 images/s  0:00:15 left"), (1500, None, "1,500  300.0 images/s"), (0, 10, "0/10")],
)
def test_progress_says_how_fast_and_how_long(done, total, text):
    assert text in progress_text(done, total, 5.0)
