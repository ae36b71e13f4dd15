"""SIGINT and SIGTERM before the work begins, where they come in the middle of imports."""

import importlib
import signal
import subprocess
import sys
import time

import pytest

from tl_infer.cli.signals import after_imports, handle

# Sends a signal when a module is looked for, so that no test depends on how fast the machine imports.
CODE = """
import importlib, os, sys

wanted, number, program = sys.argv[1], int(sys.argv[2]), sys.argv[3]
del sys.argv[1:4]

class Sender:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            os.kill(os.getpid(), number)

sys.meta_path.insert(0, Sender())
importlib.import_module(program).main()
"""


@pytest.mark.parametrize(
    ("program", "module"),
    [
        ("tl_infer.cli.start", "click"),
        ("tl_infer.cli.start", "onnxruntime"),
        ("tl_train.start", "tl_train.config"),
        ("tl_train.start", "torch"),
        ("tl_export.start", "onnx"),
    ],
)
@pytest.mark.parametrize(("number", "code", "word"), [(2, 130, "Interrupted.\n"), (15, 143, "Terminated.\n")])
def test_a_signal_during_the_imports(tmp_path, program, module, number, code, word):
    command = [sys.executable, "-c", CODE, module, str(number), program, "a", *(["b"] if "infer" in program else [])]
    command += ["--out", str(tmp_path / "out.csv")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (code, word, "")


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        handled = handle(signal.getsignal(signal.SIGTERM))
        assert signal.SIGINT not in handled
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_import_that_is_under_way_ends_before_the_exception(tmp_path, monkeypatch):
    (tmp_path / "imported_under_fire.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def interrupt(_number, _frame):
        raise KeyboardInterrupt

    before = handle(after_imports(interrupt))
    try:
        assert importlib.import_module("imported_under_fire").whole
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            time.sleep(60)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
