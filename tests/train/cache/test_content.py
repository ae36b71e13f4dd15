"""tl_train.cache.content: what was computed comes back; what is damaged counts as absent."""

import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest

from tl_train.cache import content as content_cache
from tl_train.cache.content import ContentCache, content_key


@pytest.fixture
def opened(tmp_path):
    """Opens a space in the test's folder; what the test itself does not close is closed after it."""
    with contextlib.ExitStack() as stack:
        yield lambda space: stack.enter_context(contextlib.closing(ContentCache(space, tmp_path)))


def only_file(folder):
    (path,) = folder.rglob("*.sqlite")
    return path


def open_files():
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            yield str(descriptor.readlink())


def test_what_is_put_is_got_by_the_next_one_too(opened):
    cache = opened("space")
    assert cache.get(b"a") is None
    cache.put({b"a": b"1", b"b": b""})
    cache.close()
    again = opened("space")
    assert (again.get(b"a"), again.get(b"b"), again.get(b"c")) == (b"1", b"", None)
    assert opened("another space").get(b"a") is None


def test_a_value_whose_checksum_is_wrong_is_absent(opened, tmp_path):
    cache = opened("space")
    cache.put({b"a": b"value"})
    cache.close()
    with sqlite3.connect(only_file(tmp_path)) as connection:
        (stored,) = connection.execute("SELECT value FROM entries").fetchone()
        connection.execute("UPDATE entries SET value = ?", (stored[:-1] + b"X",))
    connection.close()
    assert opened("space").get(b"a") is None


@pytest.mark.parametrize("damage", [lambda data: b"garbage" * 1000, lambda data: data[:100], lambda data: b"\0" * 8192])
def test_a_damaged_file_is_begun_anew(opened, tmp_path, damage):
    cache = opened("space")
    cache.put({bytes([i]): b"v" * 1000 for i in range(100)})
    cache.close()
    path = only_file(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    again = opened("space")
    assert again.get(b"\0") is None
    again.put({b"\0": b"new"})
    assert again.get(b"\0") == b"new"
    again.close()
    assert not [name for name in open_files() if name.startswith(str(tmp_path))]


def test_without_a_place_to_keep_them_values_are_not_kept(opened, tmp_path):
    (tmp_path / "images").write_text("a file where the folder should be")
    cache = opened("space")
    cache.put({b"a": b"1"})
    assert cache.get(b"a") is None
    cache.close()


def test_where_a_damaged_file_cannot_be_removed_values_are_not_kept(opened, tmp_path):
    opened("space").close()
    path = only_file(tmp_path)
    path.write_bytes(b"no database" * 1000)
    path.with_name(f"{path.name}-shm").mkdir()
    cache = opened("space")
    cache.put({b"key": b"value"})
    assert cache.get(b"key") is None
    cache.close()


def test_two_at_once_lose_nothing(opened):
    def fill(start):
        cache = opened("space")
        for i in range(start, start + 50):
            cache.put({content_key(str(i).encode()): str(i).encode()})
        cache.close()

    threads = [threading.Thread(target=fill, args=(start,)) for start in (0, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache = opened("space")
    assert all(cache.get(content_key(str(i).encode())) == str(i).encode() for i in range(100))


def test_the_oldest_file_goes_when_all_are_too_large(opened, monkeypatch):
    monkeypatch.setattr(content_cache, "MAX_BYTES", 150_000)
    for name in ("first", "second"):
        cache = opened(name)
        cache.put({b"a": b"x" * 100_000})
        cache.close()
    assert opened("first").get(b"a") is None
    assert opened("second").get(b"a") is not None
