"""What libraries have to say about a damaged file does not reach the terminal of the program that reads it."""

import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

import attacks
from attacks import tiff_files
from tl_infer import load_image
from tl_infer.quiet import quiet

CODE = """
import sys; sys.path[:0] = sys.argv[1:]
import io, logging, warnings
from attacks import tiff_files
from attacks.jpeg_files import photo
from tl_infer import ImageError, load_image
buffer = io.BytesIO()
photo().save(buffer, "TIFF", compression="jpeg")
damaged = bytearray(buffer.getvalue())
damaged[100:400] = bytes(300)
entries = [(256, 4, [16]), (257, 4, [16]), (262, 3, [1]), (277, 3, [60000])]  # Pillow logs an error of this one
for data in (tiff_files.many_odd_tags(12_000), bytes(damaged), tiff_files.tiff(entries)):
    try:
        print(load_image(data).shape)
    except ImageError as error:
        print(error.reason)
"""


@pytest.mark.parametrize("options", [["-W", "default"], ["-W", "error"]])
def test_nothing_reaches_stderr(options):
    folder = str(Path(attacks.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, *options, "-c", CODE, folder], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "(16, 16, 3)"
    assert len(done.stdout.splitlines()) == 3


def test_other_threads_still_warn():
    load_image(tiff_files.many_odd_tags(3))  # not the error that pytest makes of a warning
    with pytest.raises(UserWarning, match="ours"):
        warnings.warn("ours", UserWarning, stacklevel=1)
    raised = []

    def warn() -> None:
        try:
            warnings.warn("another thread's", UserWarning, stacklevel=1)
        except UserWarning as error:
            raised.append(str(error))

    with quiet():
        thread = threading.Thread(target=warn)
        thread.start()
        thread.join()
        warnings.warn("not heard", UserWarning, stacklevel=1)
    assert raised == ["another thread's"]


def test_a_host_without_any_filter():
    with warnings.catch_warnings():
        warnings.resetwarnings()
        assert load_image(tiff_files.many_odd_tags(3)).shape == (16, 16, 3)
        load_image(tiff_files.many_odd_tags(3))
        assert len(warnings.filters) == 1
