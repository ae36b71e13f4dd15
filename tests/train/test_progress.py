"""What a run shows while it works: bars on a terminal, a line now and then in a log."""

import io

import pytest

from tl_train.progress import Progress, TerminalProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def stderr_is(monkeypatch):
    """Puts a stream in the place of stderr; called by the test, as pytest takes stderr back before each."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")

    def put(stream: io.StringIO) -> io.StringIO:
        monkeypatch.setattr("sys.stderr", stream)
        return stream

    return put


def test_a_terminal_shows_how_far_steps_and_a_count_are(stderr_is):
    terminal = stderr_is(Terminal())
    progress = TerminalProgress()
    assert list(progress.steps("abc", "Reading", 3)) == ["a", "b", "c"]
    assert "Reading" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    with progress.counter("Fitting") as report:
        report(2, 7)
    assert "Fitting" in terminal.getvalue()
    assert "2/7" in terminal.getvalue()


def test_a_terminal_shows_the_bytes_of_a_download_also_after_a_retry(stderr_is):
    terminal = stderr_is(Terminal())
    with TerminalProgress().download("weights.pth") as bar:
        bar.total = 2_000_000
        bar.update(500_000)
        bar.reset()
        bar.update(2_000_000)
        bar.close()
    assert terminal.getvalue().startswith("Downloading weights.pth\n")
    assert "2.0/2.0 MB" in terminal.getvalue()


def test_a_terminal_breaks_lines_between_words_and_shows_names_as_they_are(stderr_is):
    terminal = stderr_is(Terminal())
    path = f"/photos/:cat:/[red]/{'long-name-' * 12}.png"
    TerminalProgress().note(f"{'A word or two. ' * 8}{path}: not an image")
    assert path in terminal.getvalue().splitlines()[2]
    log = stderr_is(io.StringIO())
    TerminalProgress().note(f"{path}: not an image")
    assert log.getvalue() == f"{path}: not an image\n"


def test_a_log_gets_lines_now_and_then_and_no_bars(stderr_is, monkeypatch):
    log = stderr_is(io.StringIO())
    progress = TerminalProgress()
    assert list(progress.steps("abc", "Reading", 3)) == ["a", "b", "c"]
    assert log.getvalue() == ""  # three steps took no ten seconds
    monkeypatch.setattr("tl_train.progress.PLAIN_INTERVAL_S", 0)
    assert list(progress.steps("ab", "Reading", 2)) == ["a", "b"]
    with progress.counter("Fitting") as report:
        report(0, 7)
    with progress.download("weights.pth") as bar:
        bar.total = 10
        bar.update(10)
    assert log.getvalue().splitlines() == [
        "Reading: 1 of 2, about 0 s left", "Reading: 2 of 2, about 0 s left", "Fitting: 0 of 7",
        "Downloading weights.pth",
    ]  # fmt: skip


def test_a_library_call_is_silent(capfd):
    progress = Progress()
    progress.note("a note")
    assert list(progress.steps("ab", "Reading", 2)) == ["a", "b"]
    with progress.counter("Fitting") as report:
        report(1, 2)
    with progress.download("weights.pth") as bar:
        bar.update(1)
        bar.reset()
        bar.close()
    assert capfd.readouterr() == ("", "")
