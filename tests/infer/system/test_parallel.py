import os
from pathlib import Path

import pytest

from tl_infer.system.parallel import available_threads

ALL = len(os.sched_getaffinity(0))


def system(root: Path, cgroup: str, **files: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_no_groups_and_no_limit_mean_all_processors(tmp_path):
    assert available_threads(tmp_path) == ALL
    assert available_threads(system(tmp_path, "0::/\n", cpuDOTmax="max 100000\n")) == ALL


@pytest.mark.parametrize(("quota", "expected"), [("50000 100000", 1), ("150000 100000", 2), ("990000 10000", 99)])
def test_the_quota_of_version_2_is_rounded_up(tmp_path, quota, expected):
    root = system(tmp_path, "0::/app\n", app__cpuDOTmax=quota)
    assert available_threads(root) == min(ALL, expected)


def test_a_group_above_counts_too(tmp_path):
    root = system(tmp_path, "0::/slice/app\n", slice__cpuDOTmax="100000 100000", slice__app__cpuDOTmax="max 100000")
    assert available_threads(root) == 1


def test_version_1(tmp_path):
    files = {"cpu__appX__cpuDOTcfs_quota_us": "100000\n", "cpu__appX__cpuDOTcfs_period_us": "100000\n"}
    assert available_threads(system(tmp_path, "4:cpu,cpuacct:/appX\n3:memory:/m\n", **files)) == 1


def test_version_1_without_a_limit(tmp_path):
    files = {"cpu__cpuDOTcfs_quota_us": "-1\n", "cpu__cpuDOTcfs_period_us": "100000\n"}
    assert available_threads(system(tmp_path, "4:cpu,cpuacct:/\n", **files)) == ALL


@pytest.mark.parametrize("text", ["", "nonsense", "0 0", "1 2 3", "-1 100000"])
def test_what_is_no_quota_is_no_limit(tmp_path, text):
    assert available_threads(system(tmp_path, "0::/\nodd line\n", cpuDOTmax=text)) == ALL
