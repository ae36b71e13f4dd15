import pytest

from tl_infer.cli.progress import progress_text


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [(50, 200, "50/200  10.0 images/s  0:00:15 left"), (1500, None, "1,500  300.0 images/s"), (0, 10, "0/10")],
)
def test_progress_says_how_fast_and_how_long(done, total, text):
    assert text in progress_text(done, total, 5.0)
