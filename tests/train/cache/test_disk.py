import os

import pytest

from tl_infer.errors import OutputPathError
from tl_train.cache.disk import cache_subfolder, key_of, make_room, megabytes, touch


def write(path, size_bytes, age_s):
    path.write_bytes(bytes(size_bytes))
    time_s = path.stat().st_mtime - age_s
    os.utime(path, (time_s, time_s))
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_key_depends_on_every_part_but_not_on_their_order():
    assert key_of(a=1, b=[2, "x"]) == key_of(b=[2, "x"], a=1)
    assert len({key_of(a=1), key_of(a=2), key_of(b=1), key_of(a="1"), key_of(a=[1])}) == 5


def test_the_least_recently_used_go_first(tmp_path):
    old = write(tmp_path / "old", 400, age_s=300)
    write(tmp_path / "middle", 400, age_s=200)
    write(tmp_path / "new", 100, age_s=100)
    make_room(tmp_path, 100, limit_bytes=1000)
    assert names(tmp_path) == ["middle", "new", "old"]
    touch(old)
    make_room(tmp_path, 400, limit_bytes=1000)
    assert names(tmp_path) == ["new", "old"]
    make_room(tmp_path, 1000, limit_bytes=1000)
    assert names(tmp_path) == []


def test_what_a_killed_run_left_goes_and_what_is_being_written_stays(tmp_path):
    write(tmp_path / ".abandoned.npy.0f.tmp", 100, age_s=2 * 24 * 3600)
    write(tmp_path / ".under-way.npy.1f.tmp", 100, age_s=60)
    make_room(tmp_path, 1, limit_bytes=1)
    assert names(tmp_path) == [".under-way.npy.1f.tmp"]


def test_a_folder_that_somebody_put_there_stays(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / ".theirs").mkdir()
    os.utime(tmp_path / ".theirs", (0, 0))
    make_room(tmp_path, 1, limit_bytes=1)
    assert names(tmp_path) == [".theirs", "theirs"]


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path):
    with pytest.raises(
        OutputPathError, match=r"needs 1000000.0 GB, but the disk has .* left; make room or set TL_CACHE_D"
    ):
        make_room(tmp_path, 10**15, limit_bytes=10**16)


def test_a_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(OutputPathError, match=r"file/networks: cannot be made: .*; set TL_CACHE_DIR"):
        cache_subfolder("networks")


def test_sizes_are_told_as_people_read_them():
    assert [megabytes(size) for size in (43_904_000, 2_200_000_000)] == ["44 MB", "2.2 GB"]
