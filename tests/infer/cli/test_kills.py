"""Runs that are killed, interrupted or run out of room: nothing is lost, and `--resume` finishes them."""

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from support import onnx_bytes
from support.program import MAIN, TL_INFER, rows_of, run
from tl_infer import OutputPathError
from tl_infer.cli.output.formats import Columns
from tl_infer.cli.output.journal import Intent
from tl_infer.cli.output.outfile import open_out
from tl_infer.cli.output.rows import Row

# Kills the process after the N-th call of a function of the system, as a kill at that moment would.
KILLED_AFTER = """
import os, pathlib, signal, sys
owner = {"os": os, "Path": pathlib.Path}[sys.argv[1]]
name, count = sys.argv[2], int(sys.argv[3])
del sys.argv[1:4]
real = getattr(owner, name)

def call(*arguments, **options):
    global count
    result = real(*arguments, **options)
    count -= 1
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, name, call)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_bytes.color_model(extras=True, golden=onnx_bytes.golden_set()))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, color in [("0.png", "red"), ("1.png", "#00ff00"), ("2.png", "blue")]:
        Image.new("RGB", (8, 8), color).save(folder / name)
    return folder


def left_over(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".") or "partial" in path.name]


@pytest.mark.parametrize(
    ("mode", "owner", "name", "count"),
    [
        ("--move", "os", "link", 1),  # it is in both folders
        ("--move", "Path", "unlink", 2),  # it is moved, and has no row (the first is of an old journal)
        ("--copy", "os", "link", 2),
        ("--link", "Path", "symlink_to", 1),
    ],
)
def test_a_kill_between_a_file_and_its_row(model, photos, tmp_path, mode, owner, name, count):
    out, folder = tmp_path / "r.csv", tmp_path / "sorted"
    arguments = [model, photos, "--out", out, "--sort-into", folder, mode]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AFTER + MAIN, owner, name, str(count), *map(str, arguments)],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    done = run(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    rows = rows_of(out)
    assert sorted(Path(row["sorted_to"]).relative_to(folder).as_posix() for row in rows) == [
        "blue/2.png", "green/1.png", "red/0.png"
    ]  # fmt: skip
    assert sorted(row["label"] for row in rows) == ["blue", "green", "red"]
    assert len([path for path in folder.rglob("*") if not path.is_dir()]) == 3
    assert len(list(photos.iterdir())) == (0 if mode == "--move" else 3)
    assert not left_over(tmp_path)


def test_a_kill_after_a_heatmap_leaves_no_second_one(model, photos, tmp_path):
    out, maps = tmp_path / "r.csv", tmp_path / "maps"
    arguments = [model, photos, "--out", out, "--heatmaps", maps]
    command = [sys.executable, "-c", KILLED_AFTER + MAIN, "os", "link", "2", *map(str, arguments)]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == -signal.SIGKILL
    assert run(*arguments, "--resume").returncode == 0
    assert sorted(path.name for path in maps.iterdir()) == ["0-heatmap.jpg", "1-heatmap.jpg", "2-heatmap.jpg"]
    assert [Path(row["heatmap"]).name for row in rows_of(out)] == [f"{n}-heatmap.jpg" for n in range(3)]
    assert not left_over(tmp_path)


def test_a_kill_between_two_heatmaps_of_an_image_leaves_no_further_ones(photos, tmp_path):
    model, out, maps = tmp_path / "several.onnx", tmp_path / "r.csv", tmp_path / "maps"
    model.write_bytes(onnx_bytes.color_model(onnx_bytes.several_spec(), several=True, extras=True))
    arguments = [model, photos, "--out", out, "--heatmaps", maps, "--threshold", "0"]
    command = [sys.executable, "-c", KILLED_AFTER + MAIN, "os", "link", "5", *map(str, arguments)]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == -signal.SIGKILL
    assert len(list(maps.glob("*.jpg"))) == 5
    assert run(*arguments, "--resume").returncode == 0
    names = [f"{n}-{label}-heatmap.jpg" for n in range(3) for label in ("blue", "green", "red")]
    assert sorted(path.name for path in maps.iterdir()) == names
    assert [len(row["heatmaps"].split("|")) for row in rows_of(out)] == [3, 3, 3]
    assert not left_over(tmp_path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_run_goes_on_to_the_rows_of_a_whole_one(model, photos, tmp_path, number, code):
    """The run waits for more paths when it is interrupted, so it does not matter how fast it is."""
    paths = [str(photos / f"{place % 3}.png") for place in range(40)]
    out, whole = tmp_path / "r.csv", tmp_path / "whole.csv"
    command = [*TL_INFER, str(model), "-", "--out", str(out)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdin.write("".join(f"{path}\n" for path in paths[:25]))
    process.stdin.flush()
    partial, deadline = tmp_path / "r.csv.partial", time.monotonic() + 50
    while not (partial.exists() and partial.read_bytes().count(b"\n") == 26):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    process.wait(timeout=50)
    stderr = process.stderr.read()
    process.stdin.close()
    process.stderr.close()
    assert process.returncode == code
    assert "Traceback" not in stderr
    assert len(rows_of(partial if number == signal.SIGKILL else out)) == 25
    done = run(model, "-", "--out", out, "--resume", input="\n".join(paths))
    assert done.returncode == 0, done.stderr
    assert "40 files, 25 from before" in done.stderr
    run(model, "-", "--out", whole, input="\n".join(paths))
    for row, expected in zip(rows_of(out), rows_of(whole), strict=True):
        assert {**row, "ms": ""} == {**expected, "ms": ""}
    assert not left_over(tmp_path)


@pytest.mark.parametrize("extra", [[], ["--heatmaps", "maps"]])
def test_the_first_of_slow_paths_is_answered_at_once(model, photos, tmp_path, extra):
    process = subprocess.Popen(
        [*TL_INFER, str(model), "-", *extra], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    for name, label in [("0.png", "red"), ("1.png", "green")]:
        process.stdin.write(f"{photos / name}\n{str(photos)[:5]}")  # the next path has begun, and does not come
        process.stdin.flush()
        assert process.stdout.readline().split("\t")[1] == label
        process.stdin.write(f"{str(photos)[5:]}/2.png\n")
        process.stdin.flush()
        assert process.stdout.readline().split("\t")[1] == "blue"
    process.stdin.close()
    assert process.wait(timeout=50) == 0
    process.stdout.close()


@pytest.mark.parametrize("count", range(1, 5))
@pytest.mark.parametrize("before", ["nothing", "rows to replace", "rows to continue"])
def test_a_kill_between_two_changes_of_names_costs_no_row(model, photos, tmp_path, before, count):
    """The first is of the settings beside the rows that begin, the others of the end; the last kill comes too late."""
    out, first = tmp_path / "r.csv", photos / "0.png"
    if before != "nothing":
        run(model, first, "--out", out)
    how = {"nothing": [], "rows to replace": ["--overwrite"], "rows to continue": ["--resume"]}[before]
    arguments = [model, photos, "--out", out]
    command = [sys.executable, "-c", KILLED_AFTER + MAIN, "Path", "replace", str(count), *map(str, arguments), *how]
    killed = subprocess.run(command, capture_output=True, timeout=60, check=False).returncode
    assert killed == (0 if count == 4 else -signal.SIGKILL)
    done = run(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    if count > 1:
        assert "3 files, 3 from before" in done.stderr
    assert [row["label"] for row in rows_of(out)] == ["red", "green", "blue"]
    assert not left_over(tmp_path)


@pytest.mark.parametrize("kept", [0, 10, 200, 1000])
def test_a_copy_of_finished_rows_that_was_cut_off_is_begun_again(model, photos, tmp_path, kept):
    out, partial = tmp_path / "r.csv", tmp_path / "r.csv.partial"
    run(model, *[photos / "0.png"] * 20, "--out", out)
    partial.write_bytes(out.read_bytes()[:kept])
    assert len(out.read_bytes()) > 1000
    done = run(model, *[photos / "0.png"] * 20, photos / "1.png", "--out", out, "--resume")
    assert "21 files, 20 from before" in done.stderr
    assert not left_over(tmp_path)


def test_a_full_disk_while_finished_rows_are_copied_loses_none(tmp_path):
    out, columns, row = tmp_path / "r.csv", Columns(("a", "b")), Row(path="x" * 100, label="a", probability=1.0)
    with open_out(out, columns, {}) as opened:
        for _ in range(100):
            opened.write(row)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        with pytest.raises(OutputPathError, match="File too large"), open_out(out, columns, {}, resume=True):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with open_out(out, columns, {}, resume=True) as opened:
        assert opened.earlier.tally.files == 100


def test_a_run_killed_in_its_header_blocks_nothing(model, photos, tmp_path):
    out = tmp_path / "r.csv"
    run(model, photos, "--out", tmp_path / "whole.csv")
    (tmp_path / "r.csv.partial").write_bytes((tmp_path / "whole.csv").read_bytes()[:15])
    done = run(model, photos, "--out", out, "--resume")
    assert done.returncode == 0, done.stderr
    assert len(rows_of(out)) == 3


def test_a_second_run_leaves_the_journal_of_the_first_alone(tmp_path):
    out, columns, row = tmp_path / "r.csv", Columns(("a", "b")), Row(path="x", label="a", probability=1.0)
    with open_out(out, columns, {}) as opened:
        opened.intend(Intent("move", tmp_path / "x", tmp_path / "a" / "x", row))
        with (
            pytest.raises(OutputPathError, match="another program is writing to it"),
            open_out(out, columns, {}, overwrite=True),
        ):
            pass
        assert (tmp_path / "r.csv.partial.journal").stat().st_size
        opened.write(row)


def move_into_a_full_disk(out: Path, columns: Columns, row: Row, target: Path) -> None:
    with open_out(out, columns, {}) as opened:
        opened.intend(Intent("move", target.with_name("x"), target, row))
        target.touch()
        raise OSError(28, "No space left on device")


def test_a_moved_file_whose_row_the_disk_did_not_take_is_not_forgotten(tmp_path):
    out, columns, row = tmp_path / "r.csv", Columns(("a", "b")), Row(path="x", label="a", probability=1.0)
    with pytest.raises(OutputPathError, match="No space left"):
        move_into_a_full_disk(out, columns, row, tmp_path / "y")
    with pytest.raises(OutputPathError, match="the rows of an interrupted run"), open_out(out, columns, {}):
        pass
    with open_out(out, columns, {}, resume=True) as opened:
        assert opened.earlier.tally.files == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("count", range(1, 5))
def test_a_signal_before_the_first_image_or_after_the_last_leaves_whole_files(model, photos, tmp_path, number, count):
    """Each file is flushed as it is opened, or at the end; the signal comes then."""
    out, embeddings = tmp_path / "r.csv", tmp_path / "e.npy"
    arguments = [model, photos, "--out", out, "--embeddings", embeddings]
    program = KILLED_AFTER.replace("signal.SIGKILL", str(int(number))) + MAIN
    command = [sys.executable, "-c", program, "os", "fsync", str(count), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    if done.returncode:
        assert done.returncode == 128 + number
        assert done.stderr.split() == [{signal.SIGINT: "Interrupted.", signal.SIGTERM: "Terminated."}[number]]
        assert not out.exists()
        assert not embeddings.exists()
    else:
        assert len(rows_of(out)) == 3
    assert (done.returncode == 0) == (count > 2)
    assert not left_over(tmp_path)


def write_until_full(out: Path, columns: Columns, row: Row, written: list[Row]) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with open_out(out, columns, {}) as opened:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))  # fails a write as a full disk does
            while True:
                opened.write(row)
                written.append(row)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_no_row_that_was_written(tmp_path):
    out, columns, row = tmp_path / "r.csv", Columns(("a", "b")), Row(path="x" * 100, label="a", probability=1.0)
    written: list[Row] = []
    with pytest.raises(OutputPathError, match=r"r.csv.partial: cannot be written: File too large"):
        write_until_full(out, columns, row, written)
    with open_out(out, columns, {}, resume=True) as opened:
        assert opened.earlier.tally.files == len(written) > 10
        opened.write(row)
    assert len(rows_of(out)) == len(written) + 1


def test_a_name_of_255_bytes_gets_a_heatmap_and_is_sorted(model, tmp_path):
    name = "\u00e9" * 125 + "a.png"
    assert len(name.encode()) == 255
    (tmp_path / "photos").mkdir()
    for folder in ("a", "b"):
        (tmp_path / "photos" / folder).mkdir()
        Image.new("RGB", (8, 8), "red").save(tmp_path / "photos" / folder / name)
    done = run(model, "photos", "--heatmaps", "maps", "--sort-into", "sorted", "--out", "r.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "maps").iterdir())) == 2
    first, second = sorted(path.name for path in (tmp_path / "sorted" / "red").iterdir())
    assert {first, second} == {name, "\u00e9" * 124 + "-2.png"}
