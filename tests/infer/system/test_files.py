import os
from pathlib import Path

import pytest

from tl_infer import InputPathError, OutputPathError
from tl_infer.system.files import make_folder, open_regular, read_bytes, read_text, replacing, write_bytes, write_text


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    write_text(path, "new é")
    assert path.read_bytes() == "new é".encode()
    assert list(tmp_path.iterdir()) == [tmp_path / "out.txt"]


def interrupted_write(path):
    with replacing(path) as file:
        file.write(b"half")
        assert path.read_text() == "old"
        raise KeyboardInterrupt


def test_an_interruption_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupted_write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "out.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OutputPathError, match=r"no/out.txt: cannot be written: No such file"):
        write_bytes(tmp_path / "no" / "out.txt", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputPathError, match=r"folder: cannot be written: Is a directory"):
        write_bytes(tmp_path / "folder", b"")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_errors_of_the_block_that_are_ours_stay_what_they_are(tmp_path):
    with pytest.raises(InputPathError, match="mine"), replacing(tmp_path / "a"):
        raise InputPathError("mine")


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path):
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_regular_file_of_at_most_so_many_bytes_is_opened(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    with open_regular(path, 5) as file:
        assert file.read() == b"12345"
    with pytest.raises(OSError, match="5 bytes, the limit is 4"):
        open_regular(path, 4)
    os.mkfifo(tmp_path / "fifo")
    for other in (tmp_path, tmp_path / "fifo", "/dev/null"):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(other)


def test_a_file_that_is_refused_is_closed(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(OSError, match="the limit"):
            open_regular(tmp_path / "a", 4)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_name_as_long_as_a_name_may_be(tmp_path):
    write_bytes(tmp_path / ("x" * 255), b"1")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"1"


def test_a_device_is_not_replaced(tmp_path):
    (tmp_path / "link").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo"):
        with pytest.raises(OutputPathError, match="cannot be written: not a regular file"):
            write_bytes(tmp_path / name, b"")


def test_a_whole_file_is_read_only_if_it_is_small_enough(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbfabc")
    assert read_text(path) == "abc"
    assert read_bytes(path, 6) == path.read_bytes()
    with pytest.raises(OSError, match="6 bytes, the limit is 5"):
        read_text(path, 5)
    with pytest.raises(OSError, match=r"\d+ bytes, the limit is 5"):
        read_bytes("/proc/self/status", 5)  # whose size is said to be 0
    with pytest.raises(OSError, match="not a regular file"):
        read_text("/dev/zero")


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "maps").write_bytes(b"mine")
    with pytest.raises(OutputPathError, match=r"maps: found a file, expected a folder or a new name"):
        make_folder(tmp_path / "maps")
    assert (tmp_path / "maps").read_bytes() == b"mine"
    with pytest.raises(OutputPathError, match=r"new: the folder \S+/no does not exist; make it first"):
        make_folder(tmp_path / "no" / "new", parents=False)
