"""The programs in examples/ do what they say, as a person would run them."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import onnx_bytes
from tl_infer import Classifier, ImageError

EXAMPLES = Path(__file__).parents[1] / "examples"
RED, GREEN, UNSURE = (255, 0, 0), (0, 255, 0), (120, 110, 100)


@pytest.fixture
def model(tmp_path) -> Path:
    """Red, green or blue, unsure below 0.9; with embeddings and heatmaps."""
    path = tmp_path / "colors.onnx"
    path.write_bytes(onnx_bytes.color_model(onnx_bytes.abstaining_spec(0.9), extras=True))
    return path


def run(name, *arguments, code=0) -> subprocess.CompletedProcess:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=180, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def picture(path, color) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), color).save(path)
    return path


@pytest.fixture
def watching(model, tmp_path):
    """The watcher, already looking at an empty folder."""
    (tmp_path / "in").mkdir()
    arguments = [model, tmp_path / "in", tmp_path / "sorted", "--seconds", "0.2"]
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "watch_and_sort.py"), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr.readline().startswith("watching ")
    yield process, tmp_path / "in", tmp_path / "sorted"
    if process.poll() is None:
        process.kill()
    process.communicate()


def wait_for(path) -> Path:
    deadline = time.monotonic() + 30
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.02)
    return path


def test_new_pictures_are_sorted_and_nothing_is_replaced(watching):
    process, incoming, destination = watching
    picture(destination / "red" / "a.png", UNSURE)
    there = (destination / "red" / "a.png").read_bytes()
    picture(incoming / "a.png", RED)
    picture(incoming / "b.png", GREEN)
    picture(incoming / "c.png", UNSURE)
    picture(incoming / ".hidden.png", RED)
    picture(incoming / "below" / "d.png", RED)
    (incoming / "link.png").symlink_to(destination / "red" / "a.png")
    (incoming / "notes.txt").write_text("no picture")
    for name in ("red/a (2).png", "green/b.png", "_unsure/c.png"):
        wait_for(destination / name)
    assert (destination / "red" / "a.png").read_bytes() == there
    assert process.stderr.readline().startswith("'notes.txt' stays: not an image in a known format")
    time.sleep(0.6)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert err == "", "what cannot be read is named once"
    assert re.search(r"^'a.png' -> 'red/a \(2\).png' \(\d+%\)$", out, flags=re.MULTILINE)
    assert sorted(path.name for path in incoming.iterdir()) == [".hidden.png", "below", "link.png", "notes.txt"]


def test_a_file_that_is_still_written_is_left_until_it_is_whole(watching, tmp_path):
    process, incoming, destination = watching
    noise = np.random.default_rng(0).integers(0, 40, (200, 200, 3), dtype=np.uint8) + np.array(RED, np.uint8) // 2
    Image.fromarray(noise).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    with (incoming / "slow.png").open("wb") as file:
        for start in range(0, len(data) // 2, len(data) // 30):  # never quiet for two looks
            file.write(data[start : start + len(data) // 30])
            file.flush()
            time.sleep(0.05)
        half = file.tell()
        assert process.stderr.readline().startswith("'slow.png' stays: ")  # quiet, and only half
        assert (incoming / "slow.png").exists()
        file.write(data[half:])
    moved = wait_for(destination / "red" / "slow.png")
    assert moved.read_bytes() == data
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_the_watcher_says_what_is_wrong(model, tmp_path):
    picture(tmp_path / "p.png", RED)
    done = run("watch_and_sort.py", tmp_path / "p.png", tmp_path, tmp_path / "sorted", code=1)
    assert done.stderr.startswith("watch_and_sort: ")
    assert len(done.stderr.splitlines()) == 1
    assert "absent" in run("watch_and_sort.py", model, tmp_path / "absent", tmp_path / "sorted", code=1).stderr
    assert "--seconds: found 0.0" in run("watch_and_sort.py", model, "x", "y", "--seconds", "0", code=2).stderr


def test_a_label_cannot_lead_out_of_the_folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from watch_and_sort import folder_name

    assert [folder_name(label) for label in ("dog", "../../etc", "a/b", "..", "grüne Äpfel", None)] == [
        "dog", "_.._etc", "a_b", "_", "grüne Äpfel", "_unsure"
    ]  # fmt: skip


@pytest.fixture
def look_alikes(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    picture(folder / "red.png", (250, 10, 10))
    picture(folder / "more" / "red too.png", (240, 12, 8))
    picture(folder / "green.png", (5, 200, 5))
    picture(folder / "green too.jpg", (8, 190, 5))
    picture(folder / "blue.png", (10, 10, 240))
    picture(folder / ".hidden" / "red.png", (250, 10, 10))
    return folder


@pytest.mark.parametrize("block", [1, 2, 1000])
def test_look_alikes_are_grouped_whatever_the_block(model, look_alikes, block):
    done = run("find_duplicates.py", model, look_alikes, "--block", block)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("group")] == ["group 1: 2 images", "group 2: 2 images"]
    named = {Path(name).name for name in re.findall(r"^  [01]\.\d{3}  '(.*)'$", done.stdout, flags=re.MULTILINE)}
    assert named == {"red.png", "red too.png", "green.png", "green too.jpg"}
    assert done.stderr == "5 images, 2 groups\n"


def test_the_threshold_decides_and_real_copies_are_found(tiny_model, shapes, tmp_path):
    for name in ("circle0", "square1", "cross2"):
        (tmp_path / "p").mkdir(exist_ok=True)
        shutil.copy(shapes / name[:-1] / f"{name}.png", tmp_path / "p")
        with Image.open(shapes / name[:-1] / f"{name}.png") as image:
            image.save(tmp_path / "p" / f"{name}-copy.webp", lossless=True)
    done = run("find_duplicates.py", tiny_model, tmp_path / "p", "--threshold", "0.99999")
    for name in ("circle0", "square1", "cross2"):
        assert re.search(rf"1\.000  '.*/{name}-copy.webp'\n  1\.000  '.*/{name}.png'", done.stdout)
    assert run("find_duplicates.py", tiny_model, tmp_path / "p", "--threshold", "0.01").stdout.startswith(
        "group 1: 6 images"
    )


def test_the_finder_says_what_is_wrong(model, look_alikes, tmp_path):
    (look_alikes / "notes.txt").write_text("no picture")
    done = run("find_duplicates.py", model, look_alikes, code=3)
    assert "notes.txt': not an image" in done.stderr
    (tmp_path / "empty").mkdir()
    assert "no image could be read" in run("find_duplicates.py", model, tmp_path / "empty", code=1).stderr
    assert "absent: expected a folder" in run("find_duplicates.py", model, tmp_path / "absent", code=1).stderr
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(onnx_bytes.color_model())
    assert "has no output 'embedding'" in run("find_duplicates.py", bare, look_alikes, code=1).stderr
    for option in (("--threshold", "1.1"), ("--threshold", "nan"), ("--block", "0")):
        assert f"{option[0]}: found {option[1]}" in run("find_duplicates.py", model, "x", *option, code=2).stderr


def test_the_viewer_shows_picture_heatmap_label_and_bars(tiny_model, shapes):
    path = shapes / "circle" / "circle0.png"
    out = run("view.py", tiny_model, path, "--columns", "42", "--lines", "10").stdout
    result = Classifier(tiny_model).classify(path, top_k=None)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines()
    rows = [line for line in plain if "▀" in line]
    assert 1 <= len(rows) <= 10
    assert all(re.fullmatch(r"(▀+)  \1", row) for row in rows), "two pictures of one size"
    assert plain[len(rows)] == f"{str(path)!r}: {result.label or 'not sure'}"
    assert [line.split()[0] for line in plain[len(rows) + 1 :]] == [score.label for score in result.top]
    assert plain[-1].endswith(f"{result.top[-1].probability:6.1%}")
    assert "█" in plain[len(rows) + 1]


def test_the_viewers_colors_are_the_pictures(model, tmp_path):
    pixels = np.zeros((2, 20, 3), np.uint8)
    pixels[0], pixels[1] = RED, (0, 0, 254)
    Image.fromarray(pixels).save(tmp_path / "flag.png")
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(onnx_bytes.color_model())
    out = run("view.py", bare, tmp_path / "flag.png", "--columns", "20", "--lines", "1").stdout
    assert out.splitlines()[0] == "\x1b[38;2;255;0;0;48;2;0;0;254m▀" * 20 + "\x1b[0m"
    assert out.count("\x1b[0m") == 1, "no heatmap where the model has none"


def test_the_viewer_goes_on_after_a_bad_picture_and_names_a_bad_model(model, tmp_path):
    (tmp_path / "bad\x1b[2J.png").write_text("no picture")
    done = run("view.py", model, tmp_path / "bad\x1b[2J.png", picture(tmp_path / "p.png", UNSURE), code=3)
    assert "not an image" in done.stderr
    assert "\x1b[2J" not in done.stderr
    assert "p.png': not sure" in done.stdout
    done = run("view.py", tmp_path / "p.png", tmp_path / "p.png", code=1)
    assert done.stderr.startswith("view: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["watch_and_sort.py", "find_duplicates.py", "view.py"])
def test_help_is_there_and_the_list_names_it(name):
    assert "usage: " in run(name, "--help").stdout
    assert f"[{name}]({name})" in (EXAMPLES / "README.md").read_text()


def test_every_file_that_the_list_links_to_is_there():
    for target in re.findall(r"\]\(([^)]+)\)", (EXAMPLES / "README.md").read_text()):
        assert (EXAMPLES / target).exists(), target


@pytest.mark.skipif(shutil.which("java") is None, reason="no Java")
def test_spark_gives_the_rows_of_a_classifier(model, tmp_path, monkeypatch):
    pytest.importorskip("pyspark")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)  # its workers' interpreter; otherwise the python3 of the PATH
    from pyarrow import parquet

    folder = tmp_path / "images"
    for number in range(30):
        picture(folder / f"{number % 3}" / f"{number}.png", (number * 37 % 256, number * 91 % 256, number * 53 % 256))
    (folder / "bad.png").write_text("no picture")
    run("spark_classify.py", model, folder, tmp_path / "rows", "--top-k", "2")
    rows = {Path(row["path"].removeprefix("file:")): row for row in parquet.read_table(tmp_path / "rows").to_pylist()}
    paths = sorted(path for path in folder.rglob("*.png"))
    assert sorted(rows) == paths
    with Classifier(model, threads=1, for_many=True) as classifier:
        for path, result in zip(paths, classifier.classify_many(paths, 2), strict=True):
            if isinstance(result, ImageError):
                assert (rows[path]["error"], rows[path]["top"]) == (result.reason, [])
            else:
                top = [{"label": score.label, "probability": score.probability} for score in result.top]
                assert (rows[path]["label"], rows[path]["top"]) == (result.label, top)
