"""Every block of docs/embedding.md runs as it stands, and does what the page says."""

import contextlib
import http.client
import itertools
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from tl_infer import Classification, Classifier, ImageError, ModelFileError

PAGE = (Path(__file__).parents[1] / "docs" / "embedding.md").read_text(encoding="utf-8")
WEB, BACKGROUND, WINDOW, BATCH, PROCESSES, RELOADING = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def folder(tiny_model, shapes, tmp_path, monkeypatch):
    """The current folder of a program: its model, some pictures, and a file that is none."""
    shutil.copy(tiny_model, tmp_path / "photos.onnx")
    (tmp_path / "new-photos" / "more").mkdir(parents=True)
    for number in range(3):
        shutil.copy(shapes / "circle" / f"circle{number}.png", tmp_path / "new-photos" / "more")
    (tmp_path / "new-photos" / "notes.txt").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def executed(code, **names) -> dict:
    names["__name__"] = "example"
    exec(compile(code, "embedding.md", "exec"), names)
    return names


def wait_for(condition, seconds=30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


@pytest.fixture
def web(folder, monkeypatch):
    """The web handler behind its own server, and how to ask it."""
    monkeypatch.setenv("MODEL_SHA256", Classifier("photos.onnx").sha256)
    names = executed(WEB)
    names["Handler"].timeout = 1
    names["Handler"].log_message = lambda *_: None
    with names["simple_server"].make_server(
        "127.0.0.1", 0, names["application"], names["Server"], names["Handler"]
    ) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

        def ask(body=b"", method="POST", headers=None):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
            try:
                # The handler may answer, and close, before it was sent everything.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(method, "/", body, headers or {})
                response = connection.getresponse()
                assert response.headers["Content-Type"] == "application/json"
                return response.status, json.loads(response.read())
            finally:
                connection.close()

        yield ask, names
        server.shutdown()


def test_the_web_handler_answers_with_the_class(web):
    ask, names = web
    picture = Path("new-photos/more/circle0.png")
    status, answer = ask(picture.read_bytes())
    assert status == 200
    expected = names["classifier"].classify(picture, top_k=None)
    assert answer["label"] == expected.label
    assert answer["scores"] == {score.label: round(score.probability, 4) for score in expected.top}


def test_the_web_handler_answers_errors_in_json(web, monkeypatch):
    ask, names = web
    assert ask(method="GET") == (405, {"error": "expected POST, with an image as the body"})
    status, answer = ask(b"no picture")
    assert status == 422
    assert answer["error"].startswith("not an image in a known format")
    assert ask(b"") == (422, {"error": "the file is empty"})
    large = np.zeros((4100, 4000), np.uint8)
    Image.fromarray(large).save("large.png")
    status, answer = ask(Path("large.png").read_bytes())
    assert (status, answer) == (422, {"error": "4000 x 4100 pixels, the limit is 16000000 in all"})
    assert ask(headers={"Content-Length": "10000001"}) == (413, {"error": "the limit is 10000000 bytes"})
    assert ask(headers={"Content-Length": "-1"})[0] == 413
    assert ask(headers={"Content-Length": "9" * 5000})[0] == 411
    assert ask(iter([b"in ", b"chunks"]))[0] == 411
    assert ask(headers={"Content-Length": "7"}) == (408, {"error": "expected 7 bytes, waited 1 s"})
    names["classifier"].close()
    assert ask(Path("new-photos/more/circle0.png").read_bytes()) == (500, {"error": "the model failed"})


def test_the_web_handler_takes_many_at_once(web):
    ask, _ = web
    picture = Path("new-photos/more/circle0.png").read_bytes()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(picture))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [status for status, _ in answers] == [200] * 8
    assert len({json.dumps(answer) for _, answer in answers}) == 1


def test_the_web_handler_runs_only_the_pinned_model(folder, monkeypatch):
    monkeypatch.setenv("MODEL_SHA256", "0" * 64)
    with pytest.raises(ModelFileError, match="this is not the file you pinned"):
        executed(WEB)


def test_the_background_thread_answers(folder):
    background = executed(BACKGROUND)["Background"]("photos.onnx")
    background.submit("new-photos/more/circle0.png")
    background.submit("new-photos/notes.txt")
    found = []
    wait_for(lambda: found.extend(background.answers()) or len(found) == 2)
    assert [picture for picture, _ in found] == ["new-photos/more/circle0.png", "new-photos/notes.txt"]
    assert isinstance(found[0][1], Classification)
    assert isinstance(found[1][1], ImageError)


def test_the_background_thread_says_that_the_model_is_none(folder):
    background = executed(BACKGROUND)["Background"]("new-photos/notes.txt")
    found = []
    wait_for(lambda: found.extend(background.answers()) or found)
    assert isinstance(found[0][1], ModelFileError)


def test_the_window_shows_the_answer(folder):
    tkinter = pytest.importorskip("tkinter", reason="needs Python's tkinter")
    names = executed(WINDOW, **executed(BACKGROUND))
    try:
        window = names["Window"](names["Background"]("photos.onnx"))
    except tkinter.TclError as error:
        pytest.skip(f"needs a display: {error}")
    seen = []
    for path in ("new-photos/more/circle0.png", "new-photos/notes.txt"):
        window.ask(path)
        seen.append(window._text.get())
        wait_for(lambda: window.update() or not window._text.get().endswith(" ..."))
        seen.append(window._text.get())
    window.destroy()
    label = Classifier("photos.onnx").classify("new-photos/more/circle0.png").label
    assert seen[0] == "new-photos/more/circle0.png ..."
    assert seen[1].startswith(f"new-photos/more/circle0.png: {label or 'not sure'} (")
    assert "not an image in a known format" in seen[3]


def test_the_batch_job_has_a_row_for_every_file(folder, capsys):
    names = {"__name__": "__main__"}
    exec(compile(BATCH, "embedding.md", "exec"), names)
    assert capsys.readouterr().out == "1 could not be read\n"
    rows = [json.loads(line) for line in Path("results.jsonl").read_text().splitlines()]
    by_path = {Path(row["path"]).name: row for row in rows}
    assert sorted(by_path) == ["circle0.png", "circle1.png", "circle2.png", "notes.txt"]
    assert by_path["notes.txt"]["error"].startswith("not an image")
    result = Classifier("photos.onnx").classify("new-photos/more/circle1.png")
    assert by_path["circle1.png"]["label"] == result.label
    assert by_path["circle1.png"]["probability"] == pytest.approx(result.probability, abs=1e-6)


def test_the_batch_job_reads_only_a_few_paths_ahead(folder, monkeypatch):
    names = executed(BATCH)
    read = []

    def endless(_):
        for number in itertools.count():
            read.append(number)
            yield Path("new-photos/more/circle0.png")

    class FullError(Exception):
        pass

    def full(row):
        if len(read) > 500:
            raise FullError(row)
        return "{}"

    monkeypatch.setitem(names, "files", endless)
    monkeypatch.setitem(names, "json", type("Json", (), {"dumps": staticmethod(full)}))
    with pytest.raises(FullError, match="circle0"):
        names["run"]("photos.onnx", "new-photos", "results.jsonl")
    assert len(read) < 520


def test_processes_answer_in_order(folder):
    Path("job.py").write_text(PROCESSES)
    pictures = [f"new-photos/more/circle{number}.png" for number in (2, 0, 1)] + ["new-photos/notes.txt"]
    done = subprocess.run(
        [sys.executable, "job.py", *pictures], capture_output=True, text=True, timeout=120, check=True
    )
    lines = done.stdout.splitlines()
    classifier = Classifier("photos.onnx")
    assert lines[:3] == [f"{path} {classifier.classify(path).label}" for path in pictures[:3]]
    assert lines[3].startswith("new-photos/notes.txt new-photos/notes.txt: not an image")
    assert len(lines) == 4


def test_processes_end_when_the_model_has_changed(folder, monkeypatch):
    """A pool that started its processes again and again would hang here."""
    Path("job_that_fails.py").write_text(PROCESSES)
    monkeypatch.syspath_prepend(str(folder))
    import job_that_fails

    opened = job_that_fails.Classifier

    def opened_then_changed(model, **options):
        classifier = opened(model, **options)
        Path(model).write_bytes(b"another")
        return classifier

    monkeypatch.setattr(job_that_fails, "Classifier", opened_then_changed)
    with pytest.raises(BrokenProcessPool, match="terminated abruptly"):
        list(job_that_fails.main("photos.onnx", ["new-photos/more/circle0.png"]))


@pytest.fixture
def reloading(folder, caplog):
    caplog.set_level(logging.INFO)
    names = executed(RELOADING)
    return names["Reloading"]("photos.onnx"), names


def replace(model: onnx.ModelProto | bytes) -> None:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    Path("photos.onnx.new").write_bytes(data)
    Path("photos.onnx.new").replace("photos.onnx")


def test_a_new_model_is_taken_over(reloading, caplog):
    follower, _ = reloading
    before = follower.get()
    assert not follower.look()
    assert follower.get() is before
    model = onnx.load("photos.onnx")
    model.doc_string = "the next one"
    replace(model)
    assert follower.look()
    assert follower.get().sha256 != before.sha256
    assert f"model {follower.get().sha256}" in caplog.text
    assert before.classify("new-photos/more/circle0.png").top, "who had the old one goes on with it"
    assert not follower.look()


@pytest.mark.parametrize("trouble", ["half", "golden", "labels", "absent"])
def test_the_old_model_stays_when_the_new_one_is_no_good(reloading, caplog, trouble):
    follower, _ = reloading
    before = follower.get()
    model = onnx.load("photos.onnx")
    metadata = {entry.key: entry for entry in model.metadata_props}
    if trouble == "half":
        replace(Path("photos.onnx").read_bytes()[:9000])
    elif trouble == "absent":
        Path("photos.onnx").unlink()
    elif trouble == "golden":
        golden = json.loads(metadata["tl.golden"].value)
        golden["samples"][0]["probabilities"] = golden["samples"][0]["probabilities"][::-1]
        metadata["tl.golden"].value = json.dumps(golden)
        replace(model)
    else:
        metadata["tl.spec"].value = metadata["tl.spec"].value.replace('"circle"', '"disc"')
        replace(model)
    assert not follower.look()
    assert follower.get() is before
    message = {
        "half": "damaged or not an ONNX",
        "golden": "self-test failed",
        "labels": "other labels",
        "absent": "No such file",
    }
    assert re.search(f"the model in use stays: .*{message[trouble]}", caplog.text)
    replace(onnx.load_model_from_string(before._engine.model.data))
    assert follower.look(), "a good one comes after all"


def test_the_following_thread_takes_over_and_stops(reloading):
    follower, names = reloading
    before = follower.get()
    stop = threading.Event()
    thread = threading.Thread(target=names["follow"], args=(follower, stop, 0.01))
    thread.start()
    model = onnx.load("photos.onnx")
    model.doc_string = "the next one"
    replace(model)
    wait_for(lambda: follower.get() is not before)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


def test_a_service_does_not_start_without_a_good_model(folder):
    os.truncate("photos.onnx", 1000)
    with pytest.raises(ModelFileError, match="damaged or not an ONNX model"):
        executed(RELOADING)["Reloading"]("photos.onnx")
