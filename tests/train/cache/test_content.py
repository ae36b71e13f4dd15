"""tl_train.cache.content: what was computed comes back; what is damaged counts as absent."""

import sqlite3
import threading

import pytest

from tl_train.cache import content as content_cache
from tl_train.cache.content import ContentCache, content_key


def only_file(folder):
    (path,) = folder.rglob("*.sqlite")
    return path


def test_what_is_put_is_got_by_the_next_one_too(tmp_path):
    cache = ContentCache("space", tmp_path)
    assert cache.get(b"a") is None
    cache.put({b"a": b"1", b"b": b""})
    cache.close()
    again = ContentCache("space", tmp_path)
    assert (again.get(b"a"), again.get(b"b"), again.get(b"c")) == (b"1", b"", None)
    assert ContentCache("another space", tmp_path).get(b"a") is None


def test_a_value_whose_checksum_is_wrong_is_absent(tmp_path):
    cache = ContentCache("space", tmp_path)
    cache.put({b"a": b"value"})
    cache.close()
    with sqlite3.connect(only_file(tmp_path)) as connection:
        (stored,) = connection.execute("SELECT value FROM entries").fetchone()
        connection.execute("UPDATE entries SET value = ?", (stored[:-1] + b"X",))
    connection.close()
    assert ContentCache("space", tmp_path).get(b"a") is None


@pytest.mark.parametrize("damage", [lambda data: b"garbage" * 1000, lambda data: data[:100], lambda data: b"\0" * 8192])
def test_a_damaged_file_is_begun_anew(tmp_path, damage):
    cache = ContentCache("space", tmp_path)
    cache.put({bytes([i]): b"v" * 1000 for i in range(100)})
    cache.close()
    path = only_file(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    again = ContentCache("space", tmp_path)
    assert again.get(b"\0") is None
    again.put({b"\0": b"new"})
    assert again.get(b"\0") == b"new"


def test_without_a_place_to_keep_them_values_are_not_kept(tmp_path):
    (tmp_path / "images").write_text("a file where the folder should be")
    cache = ContentCache("space", tmp_path)
    cache.put({b"a": b"1"})
    assert cache.get(b"a") is None
    cache.close()


def test_two_at_once_lose_nothing(tmp_path):
    def fill(start):
        cache = ContentCache("space", tmp_path)
        for i in range(start, start + 50):
            cache.put({content_key(str(i).encode()): str(i).encode()})
        cache.close()

    threads = [threading.Thread(target=fill, args=(start,)) for start in (0, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache = ContentCache("space", tmp_path)
    assert all(cache.get(content_key(str(i).encode())) == str(i).encode() for i in range(100))


def test_the_oldest_file_goes_when_all_are_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(content_cache, "MAX_BYTES", 150_000)
    for name in ("first", "second"):
        cache = ContentCache(name, tmp_path)
        cache.put({b"a": b"x" * 100_000})
        cache.close()
    assert ContentCache("first", tmp_path).get(b"a") is None
    assert ContentCache("second", tmp_path).get(b"a") is not None
