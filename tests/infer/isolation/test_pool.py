"""Decoding in other processes: the same pixels and errors, and a process that dies costs one image."""

import io
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attacks import jpeg_files, png_files, tiff_files
from attacks.jpeg_files import encoded, photo
from support import onnx_bytes
from tl_infer import Classifier, ImageError, ImageTooLargeError, Limits, TlError, load_image
from tl_infer.isolation.messages import Answer, Request
from tl_infer.isolation.pool import DecodingPool

ISOLATED = Limits(isolate=True)
GOOD = encoded(photo())


@pytest.fixture
def children():
    """The processes that the test has started."""

    def found() -> set[int]:
        lists = Path("/proc/self/task").glob("*/children")  # of each thread its own
        return {int(number) for numbers in lists for number in numbers.read_text().split()}

    before = found()  # of the pool that all callers of `load_image` share
    return lambda: found() - before


@pytest.fixture
def pool():
    pool = DecodingPool(ISOLATED, processes=2)
    yield pool
    pool.close()


def decoded(pool: DecodingPool, data: bytes) -> np.ndarray:
    return pool.decode(data, "it", None, None)


def test_the_pixels_are_the_same_and_so_are_the_errors(tmp_path):
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 60
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for source in (encoded(photo(333, 40), progressive=True), tmp_path / "deep.png", GOOD):
        np.testing.assert_array_equal(load_image(source, ISOLATED), load_image(source))
    for data in (b"", b"x", GOOD[:700], png_files.bomb(), tiff_files.huge_tile()):
        with pytest.raises(ImageError) as here:
            load_image(data)
        with pytest.raises(type(here.value)) as there:
            load_image(data, ISOLATED)
        assert str(there.value) == str(here.value)
    with pytest.raises(ImageTooLargeError, match="the limit is 100 in all"):
        load_image(GOOD, Limits(isolate=True, max_pixels=100))
    large = encoded(photo(800, 600))
    np.testing.assert_array_equal(
        load_image(large, ISOLATED, fast_for_px=100), load_image(large, fast_for_px=100)
    )  # fmt: skip


def test_a_process_that_is_killed_costs_one_image(pool, children):
    decoded(pool, GOOD)
    (worker,) = children()
    os.kill(worker, signal.SIGSTOP)  # it hangs
    killer = threading.Timer(0.2, os.kill, (worker, signal.SIGKILL))
    killer.start()
    with pytest.raises(ImageError, match="it: the process that decoded it was killed by SIGKILL"):
        decoded(pool, GOOD)
    killer.join()
    assert decoded(pool, GOOD).shape == (48, 64, 3)
    (other,) = children()
    os.kill(other, signal.SIGKILL)  # while it is idle: no image's fault
    while Path(f"/proc/{other}/stat").read_text().split()[2] != "Z":
        time.sleep(0.01)
    assert decoded(pool, GOOD).shape == (48, 64, 3)


def test_time_is_limited(children):
    pool = DecodingPool(Limits(isolate=True, max_seconds=0.01), processes=1)
    slow = jpeg_files.many_scans(encoded(Image.new("RGB", (2000, 2000)), progressive=True), 90)
    with pytest.raises(ImageError, match=r"it: not decoded after 0.01 s, the limit"):
        decoded(pool, slow)
    assert children() == set()
    pool.close()


def test_memory_is_limited():
    pool = DecodingPool(Limits(isolate=True, max_bytes=30_000_000), processes=1)
    with pytest.raises(ImageError, match="it: decoding needs more than 30000000 bytes of memory, the limit"):
        decoded(pool, encoded(photo(4000, 3000)))
    assert decoded(pool, GOOD).shape == (48, 64, 3)
    pool.close()


def test_a_classifier_has_its_own_processes_and_ends_them(tmp_path, children):
    paths = []
    for number, data in enumerate([GOOD, jpeg_files.scans_behind_a_reserved_marker(300), GOOD, b"x", GOOD]):
        paths.append(tmp_path / f"{number}.jpg")
        paths[-1].write_bytes(data)
    with Classifier(onnx_bytes.color_model(), threads=2, limits=ISOLATED) as classifier:
        results = list(classifier.classify_many(paths * 4))
        assert 1 <= len(children()) <= 2
    assert [isinstance(result, ImageError) for result in results] == [False, True, False, True, False] * 4
    assert all(error.where.startswith(str(tmp_path)) for error in results if isinstance(error, ImageError))
    assert children() == set()


def test_a_dropped_classifier_leaves_no_process(children):
    classifier = Classifier(onnx_bytes.color_model(), limits=ISOLATED)
    classifier.classify(GOOD)
    assert children()
    del classifier
    assert children() == set()


def test_sixteen_bit_images_are_counted(tmp_path):
    Image.fromarray(np.full((8, 8), 1000, np.uint16)).save(tmp_path / "deep.png")
    with Classifier(onnx_bytes.color_model(), limits=ISOLATED) as classifier:
        classifier.classify(tmp_path / "deep.png")
        assert classifier.sixteen_bit_images == {10: 1}


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_starts_its_own(pool):
    decoded(pool, GOOD)
    reader, writer = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=lambda: writer.send(decoded(pool, GOOD).shape))
    child.start()
    assert reader.poll(60), "the child hangs"
    assert reader.recv() == (48, 64, 3)
    child.join(30)
    assert child.exitcode == 0
    assert decoded(pool, GOOD).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_seconds": 0}, "max_seconds: found 0, expected above 0"),
        ({"max_seconds": float("nan")}, "max_seconds: found nan"),
        ({"max_bytes": 0}, "max_bytes: found 0, expected 1 or more"),
    ],
)
def test_limits_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Limits(isolate=True, **values)


def test_messages_keep_what_they_are_made_of():
    limits = Limits(max_pixels=7, max_side_px=6, max_scans=5, bit_depth=12, formats=("avif", "tga"))
    request = Request(5, 100, None, limits, True)
    assert Request.unpack(request.pack()) == request
    answer = Answer(2, 3, 4, 12, "a reason with \N{SNOWMAN}")
    assert Answer.unpack(answer.pack()) == answer
    assert isinstance(Answer.unpack(b"\xff" * len(answer.pack())), Answer)


@pytest.mark.parametrize(
    ("kind", "options", "bytes_a_pixel"),
    [
        ("JPEG", {}, 8),
        ("JPEG", {"progressive": True, "subsampling": 0}, 12),
        ("PNG", {"compress_level": 1}, 8),
        ("TIFF", {"compression": "packbits"}, 8),
        ("WEBP", {"method": 0}, 20),
        ("AVIF", {"speed": 10}, 12),
        ("JPEG2000", {"num_resolutions": 3}, 28),
        ("PPM", {}, 8),
        ("TGA", {}, 8),
    ],
)
def test_decoding_takes_no_more_memory_than_documented(kind, options, bytes_a_pixel):
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((3000, 3000)).convert("RGB").save(buffer, kind, **options)
    most = bytes_a_pixel * 3000**2 + 2 * len(buffer.getvalue()) + 10_000_000
    limits = Limits(isolate=True, max_bytes=most, max_seconds=600, formats=("avif", "jpeg2000", "pnm", "tga"))
    pool = DecodingPool(limits, processes=1)
    assert decoded(pool, buffer.getvalue()).shape == (3000, 3000, 3)
    pool.close()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (None, "No such file or directory"),
        ("exit 3", "the process that decoded it ended with code 3"),
        ("kill -ABRT $$", "the process that decoded it was killed by SIGABRT"),
        ("head -c 100000 /dev/zero | tr '\\0' x", "it gave no sensible answer"),
    ],
)
def test_an_interpreter_that_does_not_start_is_said(pool, tmp_path, monkeypatch, children, program, reason):
    """As where a program was frozen into one file, and `sys.executable` is no Python."""
    other = tmp_path / "python"
    if program is not None:
        other.write_text(f"#!/bin/sh\n{program}\n")
        other.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(other))
    with pytest.raises(TlError, match=f"a process for decoding images does not start: .*{reason}"):
        decoded(pool, GOOD)
    assert children() == set()


def test_a_limit_that_no_memory_holds_is_told():
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(TlError, match="a process for decoding images does not start"):
        load_image(GOOD, Limits(isolate=True, max_pixels=2**60))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(("name", "value"), [("frozen", True), ("executable", "")])
def test_no_program_is_started_in_place_of_python(monkeypatch, name, value):
    """As the executable of a frozen program is that program, each image would open its window again."""
    monkeypatch.setattr(sys, name, value, raising=False)
    with pytest.raises(ValueError, match="isolate: needs a Python to start processes with, and this program is frozen"):
        Limits(isolate=True)
