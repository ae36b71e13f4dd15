"""What a program that embeds the classifier relies on: outputs, abstention, pins, providers, processes."""

import io
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import onnx_bytes
from tl_infer import (
    Classifier,
    ClosedError,
    ImageError,
    Limits,
    ModelFileError,
    ProviderError,
    SelfTestError,
    quiet,
    sixteen_bit,
)

RED, GREEN = np.full((4, 6, 3), (255, 0, 0), np.uint8), np.full((4, 6, 3), (0, 255, 0), np.uint8)
UNSURE = np.full((4, 6, 3), (120, 110, 100), np.uint8)


@pytest.fixture
def rich() -> Classifier:
    return Classifier(onnx_bytes.color_model(extras=True, golden=onnx_bytes.golden_set()), threads=2)


def test_a_batch_answers_as_its_pictures_do(rich):
    pictures = np.random.default_rng(0).integers(0, 256, (37, 5, 7, 3), dtype=np.uint8)
    batch = rich.classify_batch(pictures, top_k=None)
    for picture, result in zip(pictures, batch, strict=True):
        one = rich.classify(picture, top_k=None)
        assert [score.label for score in result.top] == [score.label for score in one.top]
        assert result.probability == pytest.approx(one.probability, abs=1e-6)
    assert rich.classify_batch(pictures[:0]) == []
    assert rich.classify_batch(pictures[:, ::2, ::-1])[0].label in rich.labels, "a view with strides"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), r"float32.*expected uint8 \(N, H, W, 3\)"),
        (np.zeros((4, 4, 3), np.uint8), r"expected uint8 \(N, H, W, 3\)"),
        (np.zeros((1, 0, 4, 3), np.uint8), "image of 4 x 0 pixels"),
    ],
)
def test_a_batch_of_another_form_is_refused(rich, array, message):
    with pytest.raises(ImageError, match=message):
        rich.classify_batch(array)


def test_embedding_and_heatmap_are_those_of_the_graph(rich):
    np.testing.assert_allclose(rich.embed(RED), [255, 0, 0])
    heatmap = rich.heatmap(np.dstack([np.eye(4, dtype=np.uint8) * 9, np.zeros((4, 4, 2), np.uint8)]))
    np.testing.assert_array_equal(heatmap, np.eye(4) * 9)
    assert heatmap.base is None, "it does not keep those of the other classes"
    np.testing.assert_array_equal(rich.heatmap(RED, "green"), np.zeros((4, 6)))
    with pytest.raises(ValueError, match="label: found 'dog', expected one of the model's 3 labels"):
        rich.heatmap(RED, "dog")
    result = rich.classify(GREEN, embedding=True, heatmap=True)
    np.testing.assert_allclose(result.embedding, [0, 255, 0])
    np.testing.assert_array_equal(result.heatmap, np.full((4, 6), 255))
    (many,) = rich.classify_many([GREEN], embedding=True)
    np.testing.assert_array_equal(many.embedding, result.embedding)
    assert many.heatmap is None


def test_an_overlay_is_the_picture_with_the_place_marked(rich):
    pixels = np.full((40, 60, 3), 100, np.uint8)
    pixels[:20, :30, 0] = 250
    overlay = rich.overlay(pixels, "red")
    assert overlay.size == (60, 40)
    assert overlay.mode == "RGB"
    marked = np.asarray(overlay).astype(int)
    assert marked[5, 5, 1] - 100 > marked[35, 55, 1] - 100
    np.testing.assert_array_equal(np.asarray(rich.overlay(RED, "blue")), RED)


def test_a_model_without_the_outputs_says_so():
    plain = Classifier(onnx_bytes.color_model())
    assert not plain.has_embedding
    assert not plain.has_heatmap
    for call in (plain.embed, plain.heatmap, plain.overlay):
        with pytest.raises(ModelFileError, match=r"has no output '(embedding|heatmap)', only probabilities, logits"):
            call(RED)
    with pytest.raises(ModelFileError, match="has no output 'heatmap'"):
        plain.classify_many([RED], heatmap=True)


def test_wrong_optional_outputs_are_refused():
    with pytest.raises(ModelFileError, match="3 labels but output 'heatmap' has"):
        Classifier(onnx_bytes.color_model(extras=True, heatmap_columns=4))


def test_abstention_by_the_models_threshold_and_by_the_callers():
    careful = Classifier(onnx_bytes.color_model(onnx_bytes.abstaining_spec(0.9)))
    result = careful.classify(UNSURE)
    assert result.abstained
    assert result.label is None
    assert result.top[0].label == "red"
    assert 0.3 < result.probability < 0.9
    assert careful.classify(RED).label == "red"
    assert careful.classify(UNSURE, threshold=0).label == "red"
    assert careful.classify_batch(UNSURE[np.newaxis])[0].label is None
    (many,) = careful.classify_many([UNSURE], threshold=0.1)
    assert many.label == "red"
    assert Classifier(onnx_bytes.color_model()).classify(UNSURE, threshold=0.99).label is None
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=f"threshold: found {threshold}, expected 0 to 1"):
            careful.classify(RED, threshold=threshold)


def test_the_self_test(rich):
    report = rich.self_test()
    assert report.samples == 2
    assert report.max_difference < report.tolerance == 1e-4
    with pytest.raises(ModelFileError, match="has no golden samples, so it cannot test itself; it was made"):
        Classifier(onnx_bytes.color_model()).self_test()
    wrong = Classifier(onnx_bytes.color_model(golden=onnx_bytes.golden_set(error=0.01)))
    with pytest.raises(SelfTestError, match=r"sample '#00ff00' differs by 0.01 .*, the tolerance is 0.0001"):
        wrong.self_test()
    with pytest.raises(ModelFileError, match=r"tl.golden: version: found None"):
        Classifier(onnx_bytes.color_model(golden="{}"))


def test_another_provider_is_tested_when_it_is_loaded():
    # onnxruntime's own wheel has this provider; it leaves every node of ours to the CPU.
    azure = ["AzureExecutionProvider"]
    model = onnx_bytes.color_model(golden=onnx_bytes.golden_set())
    assert Classifier(model, providers=azure).classify(RED).label == "red"
    assert Classifier(model, providers=["CPU"]).classify(RED).label == "red"
    assert Classifier(model, providers=["CPUExecutionProvider"]).classify(RED).label == "red"
    with pytest.raises(SelfTestError, match="self-test failed"):
        Classifier(onnx_bytes.color_model(golden=onnx_bytes.golden_set(error=0.01)), providers=azure)
    with pytest.raises(ModelFileError, match="has no golden samples"):
        Classifier(onnx_bytes.color_model(), providers=azure)


@pytest.mark.parametrize(
    ("providers", "message"),
    [
        (
            ["coreml"],
            "provider 'coreml': the installed onnxruntime .* has .*cpu; install onnxruntime for macOS",
        ),
        (["cpu", "quantum"], "provider 'quantum': the installed onnxruntime"),
        ([], "expected a list of names"),
        ("cuda", "found 'cuda', expected a list of names"),
        ([None], r"found \[None\], expected a list of names"),
    ],
)
def test_a_provider_that_is_not_there_is_named(providers, message):
    with pytest.raises(ProviderError, match=message):
        Classifier(onnx_bytes.color_model(), providers=providers)


def test_a_model_can_be_pinned_by_its_sha256(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes.color_model())
    classifier = Classifier(path)
    digest = classifier.sha256
    assert classifier.sha256 is digest  # computed once: a service names it in every answer
    assert Classifier(path, sha256=digest.upper()).sha256 == digest
    with pytest.raises(ModelFileError, match=f"m.onnx: its SHA-256 is {digest}, expected {'0' * 64}"):
        Classifier(path, sha256="0" * 64)
    with pytest.raises(ValueError, match="sha256: found 'abc', expected 64 hexadecimal digits"):
        Classifier(path, sha256="abc")


def test_a_model_from_an_open_file(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes.color_model())
    with path.open("rb") as file:
        assert Classifier(file).classify(RED).label == "red"
    assert Classifier(io.BytesIO(path.read_bytes())).labels == ("red", "green", "blue")
    with pytest.raises(TypeError, match=r"its read\(\) gave str"):
        Classifier(io.StringIO("text"))
    with pytest.raises(TypeError, match="expected a path, bytes or a binary file open for reading, found int"):
        Classifier(5)
    with (
        path.open(encoding="utf-8") as file,
        pytest.raises(TypeError, match="found one open as text; open it with 'rb'"),
    ):
        Classifier(file)
    with pytest.raises(ModelFileError, match="the open file: 0 bytes"):
        Classifier(io.BytesIO())


def test_weights_in_other_files_are_refused():
    with pytest.raises(ModelFileError, match="keeps weights in other files"):
        Classifier(onnx_bytes.color_model(external=True))


def test_a_fifo_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match="cannot be read: not a regular file"):
        Classifier(tmp_path / "m.onnx")


def test_a_closed_classifier_says_so(rich):
    with rich as classifier:
        assert classifier.classify(RED).label == "red"
    for call in (rich.classify, rich.embed, lambda image: rich.classify_many([image])):
        with pytest.raises(ClosedError, match="the classifier was closed; open a new one"):
            call(RED)


def test_pickled_it_reopens_the_same_file(tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes.color_model())
    monkeypatch.chdir(tmp_path)
    small = Classifier("m.onnx", threads=1, limits=Limits(max_pixels=50))
    data = pickle.dumps(small)
    assert len(data) < 1000, "it travels as a path"
    monkeypatch.chdir("/")
    copy = pickle.loads(data)
    assert copy.classify(RED) == small.classify(RED)
    with pytest.raises(ImageError, match="the limit is 50"):
        copy.classify(np.zeros((10, 10, 3), np.uint8))
    path.write_bytes(onnx_bytes.color_model(gain=0.5))
    with pytest.raises(ModelFileError, match="this is not the file you pinned"):
        pickle.loads(data)
    from_bytes = Classifier(onnx_bytes.color_model())
    assert pickle.loads(pickle.dumps(from_bytes)).classify(RED).label == "red"


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_works(rich):
    assert rich.classify(RED).label == "red"
    running = rich.classify_many([RED] * 50)
    next(running)
    reader, writer = multiprocessing.Pipe(duplex=False)

    def work() -> None:
        answers = [rich.classify(GREEN).label, *(r.label for r in rich.classify_many([RED, GREEN]))]
        try:
            next(running)
        except RuntimeError as error:
            answers.append(str(error))
        writer.send(answers)

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    assert reader.poll(30), "the child hangs"
    assert reader.recv() == [
        "green", "red", "green", "this iterator belongs to the process that made it; make a new one after the fork"
    ]  # fmt: skip
    child.join(30)
    assert child.exitcode == 0
    assert len(list(running)) == 49


@pytest.mark.parametrize("uses", [True, False])
def test_a_child_of_a_bare_fork_may_exit_as_programs_do(uses):
    """gunicorn --preload forks so; freeing the parent's sessions would wait for threads that are not there."""
    code = (
        "import os, sys; sys.path[:0] = sys.argv[2:]; import numpy as np, support.onnx_bytes as onnx_bytes, tl_infer\n"
        "c = tl_infer.Classifier(onnx_bytes.color_model(), threads=2); image = np.zeros((4, 4, 3), np.uint8)\n"
        "c.classify(image); list(c.classify_many([image] * 5))\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    if sys.argv[1] == 'True': c.classify(image); list(c.classify_many([image] * 5))\n"
        "    sys.exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    folder = str(Path(onnx_bytes.__file__).parents[1])
    ours = "ignore:This process:DeprecationWarning"  # Python 3.12 and later say that a process with threads forks
    command = [sys.executable, "-W", ours, "-c", code, str(uses), folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("7\n", "")


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("lock", [sixteen_bit._counting, quiet._lock], ids=["counting", "filters"])
def test_a_fork_waits_for_a_thread_that_decodes(lock):
    held = threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            time.sleep(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if not child:
        os._exit(0 if lock.acquire(timeout=5) else 1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()


def test_a_program_ends_while_a_daemon_thread_classifies():
    """A desktop app does, whose window is closed; Python then aborted inside of onnxruntime."""
    code = (
        "import sys, threading, time; sys.path[:0] = sys.argv[1:]\n"
        "import numpy as np, support.onnx_bytes as onnx_bytes, tl_infer\n"
        "c = tl_infer.Classifier(onnx_bytes.color_model())\n"
        "image = np.zeros((1000, 1000, 3), np.uint8)\n"
        "class Slow:\n"
        "    def __del__(self, sleep=time.sleep): sleep(0.5)\n"
        "slow = Slow()  # freed when daemon threads may not go on\n"
        "def work():\n"
        "    while True: c.classify(image)\n"
        "for _ in range(3): threading.Thread(target=work, daemon=True).start()\n"
        "time.sleep(0.3); sys.exit(7)"
    )
    folder = str(Path(onnx_bytes.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_no_thread_spins_and_none_is_left():
    before = threading.active_count()
    with Classifier(onnx_bytes.color_model(), threads=2) as classifier:
        assert len(list(classifier.classify_many([RED] * 100))) == 100
        classifier.classify(RED)
        assert threading.active_count() == before
        used = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - used < 0.1


def test_the_models_file_can_be_replaced_while_a_classifier_uses_it(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes.color_model())
    classifier = Classifier(path)
    path.unlink()
    assert next(classifier.classify_many([RED])).label == "red"


def test_a_host_that_uses_warnings_as_errors_and_has_no_stderr():
    code = (
        "import sys, io; sys.path[:0] = sys.argv[1:]; import support.onnx_bytes as onnx_bytes, tl_infer; "
        "c = tl_infer.Classifier(onnx_bytes.color_model()); sys.stderr = None; "
        "print(c.classify(b'x') if 0 else [type(r).__name__ for r in c.classify_many([b'x'])])"
    )
    folder = str(Path(onnx_bytes.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, folder], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "['ImageError']"
    assert done.stderr == ""


def test_milliseconds_are_measured(rich, tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (900, 900)).save(buffer, "PNG")
    good, bad = rich.classify_many([buffer.getvalue(), b"x"])
    assert good.ms > 0.1
    assert bad.ms >= 0
