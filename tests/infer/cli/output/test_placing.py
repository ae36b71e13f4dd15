import os
from pathlib import Path

import pytest

from tl_infer.cli.output.placing import Placer


def test_moving_to_another_file_system_keeps_the_bytes(tmp_path):
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system")
    source = elsewhere / f"tl-infer-{os.getpid()}.bin"
    source.write_bytes(b"x" * 100_000)
    made = Placer().place(source, tmp_path, "move", lambda _: None)
    assert made.read_bytes() == b"x" * 100_000
    assert not source.exists()
    assert [path.name for path in tmp_path.iterdir()] == [made.name]
