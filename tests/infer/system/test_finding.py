import itertools
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_infer import InputPathError
from tl_infer.system.finding import find_files, natural_key
from tl_infer.system.parallel import ordered_map


def test_folders_are_read_recursively_in_natural_order_without_hidden_files(tmp_path):
    for name in ("img10.png", "img2.png", "B/x.png", "a/y.png", ".hidden.png", ".git/z.png", "a/.DS_Store"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = [str(path.relative_to(tmp_path)) for path in find_files([tmp_path])]
    assert found == ["img2.png", "img10.png", "a/y.png", "B/x.png"]


def test_files_keep_the_order_given(tmp_path):
    for name in "ab":
        (tmp_path / name).touch()
    assert find_files([tmp_path / "b", tmp_path / "a"]) == [tmp_path / "b", tmp_path / "a"]


def test_a_loop_of_links_ends(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert find_files([tmp_path]) == [tmp_path / "a.png"]


def test_a_broken_link_is_a_file_that_will_fail_not_a_silent_gap(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    assert find_files([tmp_path]) == [tmp_path / "gone.png"]


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(InputPathError, match=r"typo.png: no such file or folder"):
        find_files([tmp_path / "typo.png"])
    with pytest.raises(InputPathError, match="has no files"):
        find_files([tmp_path])


@given(st.lists(st.text(max_size=8), max_size=8))
def test_natural_order_is_a_total_order_of_any_names(names):
    assert sorted(sorted(names, reverse=True), key=natural_key) == sorted(names, key=natural_key)


@given(items=st.lists(st.integers(), max_size=40), workers=st.integers(1, 4))
def test_ordered_map_is_map(items, workers):
    assert list(ordered_map(lambda item: item * 2, items, workers)) == [item * 2 for item in items]


def test_order_holds_when_later_items_finish_first():
    def slow_when_even(item: int) -> int:
        time.sleep(0.01 if item % 2 == 0 else 0)
        return item

    assert list(ordered_map(slow_when_even, range(20), 4)) == list(range(20))


def test_an_endless_input_is_read_only_as_far_as_needed():
    taken = itertools.count()
    source = (next(taken) for _ in itertools.repeat(None))
    results = ordered_map(str, source, 2)
    assert [next(results) for _ in range(5)] == list("01234")
    results.close()
    assert next(taken) < 20
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tl-infer")]


def test_an_exception_comes_at_its_items_turn():
    results = ordered_map(lambda item: 1 // item, [1, 1, 0, 1], 2)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_items_that_fail_take_no_results_with_them():
    def frames():
        yield from range(5)
        raise OSError("the camera is gone")

    results = ordered_map(str, frames(), 4)
    assert [next(results) for _ in range(5)] == list("01234")
    with pytest.raises(OSError, match="the camera is gone"):
        next(results)
    assert list(results) == []
