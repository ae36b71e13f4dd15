import os

from tl_infer.system.temporaries import create_temporary, is_temporary, remove_stale, temporary_folder


def test_what_a_killed_process_left_goes_and_what_is_in_use_stays(tmp_path):
    used, file = create_temporary(tmp_path)
    left, other = create_temporary(tmp_path)
    other.close()  # as the system does for a killed process; nothing was removed
    mine = tmp_path / ".tl-notes.tmp"
    mine.write_text("a user's")
    remove_stale(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([used, mine])
    file.close()
    remove_stale(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]
    assert is_temporary(left.name)
    assert not is_temporary(mine.name)


def test_a_link_of_such_a_name_is_not_followed(tmp_path):
    (tmp_path / "real").write_text("x")
    (tmp_path / ".tl-0123456789abcdef.tmp").symlink_to("real")
    remove_stale(tmp_path)
    remove_stale(tmp_path / "absent")
    assert (tmp_path / "real").read_text() == "x"


def test_folders_of_killed_processes_go_too(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, foreign = tmp_path / "tl-toolkit-left", tmp_path / "others"
    for folder in (left, foreign):
        folder.mkdir()
        (folder / "network.onnx").write_text("x")
        os.utime(folder, (0, 0))
    with temporary_folder() as first:
        os.utime(first, (0, 0))
        with temporary_folder() as second:
            assert sorted(tmp_path.iterdir()) == sorted([foreign, first, second])
    assert list(tmp_path.iterdir()) == [foreign]
