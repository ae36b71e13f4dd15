"""The caller in C answers as `tl_infer.Classifier` does; built against the library of a package, or of the wheel.

Where no package has the header, `support/c` declares what the caller uses of it.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from support import onnx_bytes
from tl_export.proof.faults import FAULTS
from tl_infer import Classifier, load_image

ROOT = Path(__file__).parents[1]
COMPILER = shutil.which("cc")
PNG = Path("/usr/include/png.h")
pytestmark = pytest.mark.skipif(COMPILER is None or not PNG.is_file(), reason="needs a C compiler and libpng-dev")

# Two releases of onnxruntime may sum in another order: the tolerance of the export's own proof.
CLOSE = 1e-4


@pytest.fixture(scope="module")
def caller(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("caller")
    source = ROOT / "examples" / "callers" / "classify.c"
    command = [COMPILER, "-Wall", "-Wextra", "-Werror", "-O1", "-o", folder / "classify", source]
    subprocess.run([*command, *onnxruntime_flags(folder), "-lpng", "-lm"], check=True, timeout=60)
    return folder / "classify"


def onnxruntime_flags(folder: Path) -> list[str]:
    packaged = ["pkg-config", "--cflags", "--libs", "libonnxruntime"]
    if shutil.which("pkg-config"):
        found = subprocess.run(packaged, capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.split()
    libraries = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))
    if not libraries:
        pytest.skip("neither a package of libonnxruntime nor a wheel that has the library")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(libraries[0])
    return [f"-I{ROOT / 'tests' / 'support' / 'c'}", f"-L{folder}", "-lonnxruntime", f"-Wl,-rpath,{folder}"]


def ppm(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path, "PPM")
    return path


def run(caller: Path, *arguments: object, code: int = 0, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    command = [str(caller), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment, **options)
    assert done.returncode == code, done.stderr
    return done


def rows(caller: Path, *arguments: object, **options: object) -> list[dict]:
    return [json.loads(line) for line in run(caller, *arguments, **options).stdout.splitlines()]


def agrees(row: dict, classifier: Classifier, pixels: np.ndarray) -> None:
    expected = classifier.classify(pixels, top_k=None)
    assert row["probabilities"].keys() == {score.label for score in expected.top}
    for score in expected.top:
        assert row["probabilities"][score.label] == pytest.approx(score.probability, abs=CLOSE)
    assert row["label"] == expected.label
    assert row["reason"] == expected.reason


def test_it_answers_as_the_classifier(caller, tiny_model, photos, shapes, tmp_path):
    classifier = Classifier(tiny_model)
    sources = [*photos[:5], *sorted((shapes / "cross").iterdir())[:5]]
    pixels = [load_image(path) for path in sources]
    files = [ppm(tmp_path / f"{number}.ppm", each) for number, each in enumerate(pixels)]
    answers = rows(caller, tiny_model, *files)
    assert [row["path"] for row in answers] == [str(path) for path in files]
    for row, each in zip(answers, pixels, strict=True):
        agrees(row, classifier, each)
        assert row["familiarity"] is None
    with files[0].open("rb") as file:
        (row,) = rows(caller, tiny_model, "-", stdin=file)
    assert row["probabilities"] == answers[0]["probabilities"]


def test_familiarity_and_abstention(caller, familiar_run, tmp_path):
    from tl_export import export

    model = export(familiar_run, tmp_path / "m.onnx").path
    classifier = Classifier(model)
    noise = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    for number, pixels in enumerate((noise, np.zeros((9, 9, 3), np.uint8))):
        (row,) = rows(caller, model, ppm(tmp_path / f"{number}.ppm", pixels))
        agrees(row, classifier, pixels)
        assert row["familiarity"] == pytest.approx(classifier.classify(pixels).familiarity, abs=1e-3)


def changed(path: Path, key: str, change) -> Path:
    model = onnx.load_model_from_string(onnx_bytes.color_model(golden=onnx_bytes.golden_set()))
    (entry,) = (entry for entry in model.metadata_props if entry.key == key)
    document = json.loads(entry.value)
    change(document)
    entry.value = json.dumps(document)
    onnx.save(model, path)
    return path


def test_labels_are_those_of_the_file_whatever_is_in_them(caller, tmp_path):
    labels = ['a "b" \\ c', "grün\n{[", "\N{SNOWMAN}"]
    model = changed(tmp_path / "m.onnx", "tl.spec", lambda spec: spec.update(labels=labels))
    (row,) = rows(caller, model, ppm(tmp_path / "a.ppm", np.full((4, 4, 3), (250, 0, 0), np.uint8)))
    assert list(row["probabilities"]) == labels
    assert row["label"] == labels[0]


def test_it_abstains_below_the_threshold(caller, tmp_path):
    model = changed(tmp_path / "m.onnx", "tl.spec", lambda spec: spec.update(abstain_below=1.0))
    (row,) = rows(caller, model, ppm(tmp_path / "a.ppm", np.full((4, 4, 3), 90, np.uint8)))
    assert (row["label"], row["reason"]) == (None, "unsure")


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("tl.spec", lambda spec: spec.update(version=3), "tl.spec: version 3, expected 1 or 2"),
        ("tl.golden", lambda golden: golden.update(version=7), "tl.golden: version 7, expected 1 or 2"),
        ("tl.golden", lambda golden: golden["samples"][0]["probabilities"].reverse(), "golden sample '.*' differs by"),
    ],
)
def test_a_file_that_does_not_hold_is_refused(caller, tmp_path, key, change, message):
    model = changed(tmp_path / "m.onnx", key, change)
    done = run(caller, model, ppm(tmp_path / "a.ppm", np.zeros((4, 4, 3), np.uint8)), code=1)
    assert done.stdout == ""
    assert re.search(f"^{re.escape(str(model))}: {message}", done.stderr)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_runtime_that_computes_something_else_is_found_out(caller, tiny_model, tmp_path, fault):
    onnx.save(FAULTS[fault](onnx.load(tiny_model)), tmp_path / "faulty.onnx")
    done = run(caller, tmp_path / "faulty.onnx", ppm(tmp_path / "a.ppm", np.zeros((4, 4, 3), np.uint8)), code=1)
    assert "faulty.onnx: golden sample '" in done.stderr


def test_what_is_no_image_is_a_row_and_what_is_no_model_a_line(caller, tmp_path):
    model = tmp_path / "m.onnx"
    model.write_bytes(onnx_bytes.color_model(golden=onnx_bytes.golden_set()))
    good = ppm(tmp_path / "good.ppm", np.zeros((4, 5, 3), np.uint8))
    (tmp_path / "cut.ppm").write_bytes(good.read_bytes()[:-1])
    (tmp_path / "deep.ppm").write_bytes(b"P6\n# of 16 bits\n1 1\n65535\n" + bytes(6))
    (tmp_path / "huge.ppm").write_bytes(b"P6 99999 99999 255\n")
    bad = [tmp_path / "cut.ppm", tmp_path / "deep.ppm", tmp_path / "huge.ppm", tmp_path / "absent.ppm", model]
    answers = rows(caller, model, *bad, good, code=3)
    assert ["error" in row for row in answers] == [True] * 5 + [False]
    assert "truncated" in answers[0]["error"]
    for path in (good, tmp_path / "absent.onnx"):
        assert run(caller, path, good, code=1).stderr.startswith(f"{path}: ")
    assert "usage: " in run(caller, model, code=2).stderr
