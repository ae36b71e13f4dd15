"""A queue that is full, images that hang, files that are replaced, and a clean end."""

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support import onnx_bytes
from support.service import png, wait_until
from tl_infer import Classifier
from tl_infer.serve.settings import Settings

RED = png("red")
HEAD = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
# Two threads take images, of which one decodes; both wait while decoding is stopped.
THREADS = 2


def test_a_full_queue_is_503_and_those_in_it_are_answered(colors, start):
    service = start(colors, "--queue", 2, "--max-seconds", 3600, "--answer-timeout", 3600)
    with service.decoding_stopped():
        answers = []
        for count in range(1, THREADS + 2 + 1):
            answers.append(service.later("/classify", RED))
            service.wait_for("tl_images_in_work", count)
        assert service.metric("tl_images_waiting") == 2
        status, headers, content = service.exchange("/classify", RED, {})
        assert status == 503
        assert 1 <= int(headers["Retry-After"]) <= 60
        assert content == b'{"error":"2 images are waiting, try again later"}'
        assert service.ask("/v2/health/ready") == (200, {"ready": True})
    assert [answer.result()[0] for answer in answers] == [200] * 4
    service.wait_for("tl_images_in_work", 0)
    assert service.ask("/classify", RED)[0] == 200


def test_an_answer_that_takes_too_long_is_503_and_gives_up_its_place(colors, start):
    service = start(colors, "--queue", 1, "--max-seconds", 3600, "--answer-timeout", 0.5)
    with service.decoding_stopped():
        for count in range(1, THREADS + 1):
            service.later("/classify", RED)
            service.wait_for("tl_images_in_work", count)
        status, answer = service.ask("/classify", RED)  # waits in the queue, which has one place
        assert (status, answer) == (503, {"error": "no answer after 0.5 s, the limit; try again later"})
        service.wait_for("tl_images_in_work", THREADS)
        assert service.ask("/classify", RED)[1] == answer, "and the next one has it"
    service.wait_for("tl_images_in_work", 0)


def test_a_client_that_leaves_gives_up_its_place(colors, start):
    service = start(colors, "--queue", 1, "--max-seconds", 3600, "--answer-timeout", 3600)
    with service.decoding_stopped():
        answers = []
        for count in range(1, THREADS + 1):
            answers.append(service.later("/classify", RED))
            service.wait_for("tl_images_in_work", count)
        leaving = service.connect(HEAD % len(RED) + RED)
        service.wait_for("tl_images_in_work", THREADS + 1)
        leaving.close()
        service.wait_for("tl_images_in_work", THREADS)
        assert service.logged("request", status=499)["images"] == 1
    assert [answer.result()[0] for answer in answers] == [200, 200]


def test_an_image_that_hangs_fails_alone(colors, start):
    service = start(colors, "--max-seconds", 1)
    with service.decoding_stopped():
        status, answer = service.ask("/classify", RED)
    assert (status, answer) == (422, {"error": "not decoded after 1 s, the limit"})
    assert service.ask("/classify", RED)[0] == 200


def test_a_new_file_answers_once_its_golden_samples_passed(colors, start, tmp_path):
    path = tmp_path / "m.onnx"
    shutil.copy(colors, path)
    service = start(path)
    first = service.ask("/classify", RED)[1]["version"]

    service.send(signal.SIGHUP)
    assert service.logged("reload", outcome="unchanged")["version"] == first

    path.write_bytes(onnx_bytes.color_model(golden=onnx_bytes.golden_set(error=0.1)))
    service.send(signal.SIGHUP)
    line = service.logged("reload", outcome="refused")
    assert "self-test failed" in line["error"]
    assert line["level"] == "error"
    assert service.ask("/classify", RED)[1]["version"] == first

    path.write_bytes(onnx_bytes.color_model())
    service.send(signal.SIGHUP)
    wait_until(lambda: sum(each["event"] == "reload" for each in service.lines) == 3)
    assert "has no golden samples" in service.lines[-1]["error"]

    path.write_bytes(onnx_bytes.color_model(onnx_bytes.abstaining_spec(0.5), golden=onnx_bytes.golden_set()))
    service.send(signal.SIGHUP)
    version = service.logged("reload", outcome="replaced")["version"]
    with Classifier(path) as classifier:
        assert version == classifier.sha256[:12] != first
        sha256 = classifier.sha256
    assert service.ask("/classify", RED)[1]["version"] == version
    metrics = service.exchange("/metrics", None, {})[2].decode()
    assert f'tl_model_info{{model="m",sha256="{sha256}"}} 1.0' in metrics
    assert metrics.count("tl_model_info{") == 1
    assert 'tl_reloads_total{model="m",outcome="refused"} 2.0' in metrics


def test_requests_under_way_are_answered_by_the_model_that_they_began_with(colors, start, tmp_path):
    path = tmp_path / "m.onnx"
    shutil.copy(colors, path)
    service = start(path, "--max-seconds", 3600, "--answer-timeout", 3600)
    first = service.ask("/classify", RED)[1]["version"]
    with service.decoding_stopped():
        answers = [service.later("/classify", RED) for _ in range(THREADS + 1)]
        service.wait_for("tl_images_in_work", THREADS + 1)
        path.write_bytes(onnx_bytes.color_model(onnx_bytes.abstaining_spec(0.5), golden=onnx_bytes.golden_set()))
        service.send(signal.SIGHUP)
        version = service.logged("reload", outcome="replaced")["version"]
        later = service.later("/classify", RED)
        service.wait_for("tl_images_in_work", THREADS + 2)
    assert later.result()[1]["version"] == version != first
    assert {(status, answer["version"]) for status, answer in (each.result() for each in answers)} == {(200, first)}
    wait_until(lambda: len(service.children()) == 1)  # those of the earlier model have ended


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_all_are_answered(colors, start, number):
    service = start(colors, "--max-seconds", 3600, "--answer-timeout", 3600, "--stop-timeout", 3600)
    idle = service.connect(b"")
    with service.decoding_stopped():
        answer = service.later("/classify", RED)
        service.wait_for("tl_images_in_work", 1)
        service.send(number)
        service.logged("stopping")
        wait_until(lambda: not accepts(service.port))
    assert answer.result()[1]["label"] == "red"
    assert service.end(0) == 0
    service.logged("stopped")
    idle.close()


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionError:
        return False
    return True


def run(*arguments, before=""):
    program = f"{before}from tl_infer.cli.command import main; main()"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_what_it_cannot_start_with_is_one_line(colors, tmp_path):
    pytest.importorskip("uvicorn")
    untested = tmp_path / "untested.onnx"
    untested.write_bytes(onnx_bytes.color_model())
    done = run("serve", "--port", "0", untested)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {untested}: has no golden samples")
    assert len(done.stderr.splitlines()) == 1
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", port, colors)
    assert (done.returncode, done.stderr) == (
        1, f"Error: 127.0.0.1:{port}: cannot listen there: Address already in use\n"
    )  # fmt: skip
    done = run("serve", colors, colors)
    assert done.returncode == 2
    assert "models: two files are called 'colors'; rename one" in done.stderr


def test_the_body_of_an_answer_does_not_wait_for_the_client_to_acknowledge_its_head():
    pytest.importorskip("uvicorn")
    from tl_infer.serve.service import listen

    with listen(Settings(models=(Path("m.onnx"),), port=0)) as listener:
        listener.settimeout(10)
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
            with connection:
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_without_the_extra_it_says_what_to_install(colors):
    done = run("serve", colors, before="import sys; sys.modules['starlette'] = None; ")
    assert (done.returncode, done.stderr) == (
        1, 'Error: starlette is not installed; run: pip install "tl-toolkit[serve]"\n'
    )  # fmt: skip
    assert "Usage: tl-infer serve [OPTIONS] MODEL..." in run("serve", "--help").stdout


def test_a_model_that_is_called_serve_still_classifies(colors, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(colors, "serve")
    (tmp_path / "red.png").write_bytes(RED)
    done = run("./serve", "red.png")
    assert done.returncode == 0
    assert done.stdout == "red.png\tred\t99.93%\n"
