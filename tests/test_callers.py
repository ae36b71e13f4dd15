"""The callers without tl_infer answer as `tl_infer.Classifier` does, on real picture files and a real model."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from tl_export.proof.faults import FAULTS
from tl_infer import Classifier

CALLERS = Path(__file__).parents[1] / "examples" / "callers"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(
    NODE is None or not (CALLERS / "node_modules" / "sharp").is_dir(),
    reason="needs node 20.9 or newer and, in examples/callers, `npm ci --ignore-scripts`",
)
PYTHON_CALLER = [sys.executable, str(CALLERS / "classify.py")]
NODE_CALLER = [str(NODE), str(CALLERS / "classify.mjs")]
both_callers = pytest.mark.parametrize(
    "caller", [pytest.param(PYTHON_CALLER, id="python"), pytest.param(NODE_CALLER, id="node", marks=needs_node)]
)

# Lossless pictures decode to the same pixels everywhere, so what remains is how two releases of onnxruntime sum:
# the tolerance of the export's own proof. The inverse transforms of two JPEG or WebP decoders may round differently;
# one grey level on a few pixels moved a probability by 0.0125 at most (docs/model-file.md). Seen: 0 for either.
LOSSLESS, LOSSY = 1e-4, 0.0125


@pytest.fixture(scope="module")
def pictures(shapes, tmp_path_factory) -> list[Path]:
    """The same drawn shape in every form that a decoder can get wrong."""
    folder = tmp_path_factory.mktemp("forms")
    base = Image.open(shapes / "cross" / "cross1.png").convert("RGB")
    grey = base.convert("L")
    ramp = np.linspace(0, 255, base.width * base.height).astype(np.uint8).reshape(base.height, base.width)
    translucent, translucent_grey = base.copy(), grey.copy()
    translucent.putalpha(Image.fromarray(ramp))
    translucent_grey.putalpha(Image.fromarray(ramp))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        base.save(folder / f"turned{orientation}.jpg", exif=exif, quality=95)
        base.save(folder / f"turned{orientation}.png", exif=exif)
    base.save(folder / "plain.tif")
    base.save(folder / "lossless.webp", lossless=True)
    base.save(folder / "first-frame.gif", save_all=True, append_images=[base.rotate(90, expand=False)])
    translucent.save(folder / "alpha.png")
    translucent_grey.save(folder / "grey-alpha.png")
    base.quantize(16).save(folder / "palette.png")
    base.quantize(16).save(folder / "palette-transparent.png", transparency=0)
    grey.save(folder / "grey.png")
    grey.save(folder / "grey.jpg", quality=95)
    grey.point(lambda level: 255 * (level > 60)).convert("1").save(folder / "one-bit.png")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 250 + ramp).save(folder / "sixteen-bit.png")
    base.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    base.convert("CMYK").save(folder / "cmyk.tif")
    return sorted(folder.iterdir())


def run(caller, *arguments, code=0) -> subprocess.CompletedProcess:
    done = subprocess.run([*caller, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    return done


def rows(caller, model, paths, code=0) -> list[dict]:
    return [json.loads(line) for line in run(caller, model, *paths, code=code).stdout.splitlines()]


def expected(classifier, path) -> dict[str, float]:
    return {score.label: score.probability for score in classifier.classify(path, top_k=None).top}


def apart(one, other) -> float:
    assert one.keys() == other.keys()
    return max(abs(one[label] - other[label]) for label in one)


@both_callers
def test_it_answers_as_the_classifier(caller, tiny_model, pictures):
    classifier = Classifier(tiny_model)
    answers = rows(caller, tiny_model, pictures)
    assert [row["path"] for row in answers] == [str(path) for path in pictures]
    for path, row in zip(pictures, answers, strict=True):
        tolerance = LOSSY if path.suffix == ".jpg" else LOSSLESS
        assert apart(row["probabilities"], expected(classifier, path)) <= tolerance, path.name
        assert row["probability"] == max(row["probabilities"].values())


def test_these_pictures_tell_the_rules_apart(tiny_model, pictures):
    """Otherwise agreement above would mean little: ignoring a rule changes more than the tolerance allows."""
    classifier = Classifier(tiny_model)
    forms = {path.name: path for path in pictures}
    for name, careless in {
        "turned6.png": lambda image: image.convert("RGB"),
        "alpha.png": lambda image: image.convert("RGB"),
        "sixteen-bit.png": lambda image: Image.fromarray(np.minimum(np.asarray(image), 255).astype(np.uint8)),
    }.items():
        with Image.open(forms[name]) as image:
            wrong = np.asarray(careless(image))
        assert apart(expected(classifier, wrong), expected(classifier, forms[name])) > 2 * LOSSLESS, name


def test_a_transparent_value_of_sixteen_bits_is_laid_over_white(tiny_model, tmp_path):
    values = np.full((40, 60), 9000, np.uint16)
    values[:, :30] = 3000
    path = tmp_path / "deep.png"
    Image.fromarray(values).save(path, transparency=3000)
    classifier = Classifier(tiny_model)
    (row,) = rows(PYTHON_CALLER, tiny_model, [path])
    assert apart(row["probabilities"], expected(classifier, path)) <= LOSSLESS
    Image.fromarray(values).save(tmp_path / "opaque.png")
    assert apart(expected(classifier, tmp_path / "opaque.png"), row["probabilities"]) > 2 * LOSSLESS


@both_callers
def test_a_real_photo(caller, tiny_model, photos):
    classifier = Classifier(tiny_model)
    for path, row in zip(photos[:8], rows(caller, tiny_model, photos[:8]), strict=True):
        assert apart(row["probabilities"], expected(classifier, path)) <= LOSSY


@both_callers
def test_it_abstains_where_the_model_says_so(caller, tiny_model, pictures, tmp_path):
    def never_sure(spec):
        spec["abstain_below"] = 1.0

    (row,) = rows(caller, changed(tiny_model, tmp_path / "m.onnx", "tl.spec", never_sure), pictures[:1])
    assert row["label"] is None
    assert 0 < row["probability"] < 1


@both_callers
def test_damaged_pictures_are_rows_too(caller, tiny_model, pictures, tmp_path):
    good = pictures[0]
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "half.png").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (tmp_path / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    answers = rows(caller, tiny_model, [*sorted(tmp_path.iterdir()), tmp_path / "absent.png", good], code=3)
    assert ["error" in row for row in answers] == [True, True, True, True, False]


@both_callers
def test_a_golden_sample_that_does_not_come_out_is_refused(caller, tiny_model, pictures, tmp_path):
    def plant(golden):
        sample = golden["samples"][3]
        sample["probabilities"] = sample["probabilities"][1:] + sample["probabilities"][:1]
        sample["name"] = "planted"

    spoiled = changed(tiny_model, tmp_path / "spoiled.onnx", "tl.golden", plant)
    done = run(caller, spoiled, pictures[0], code=1)
    assert done.stdout == ""
    assert re.search(r"spoiled.onnx: golden sample 'planted' differs by [0-9.e-]+, tolerance [0-9.e-]+\n$", done.stderr)
    assert "Traceback" not in done.stderr


@both_callers
@pytest.mark.parametrize("fault", FAULTS)
def test_a_runtime_that_computes_something_else_is_found_out(caller, tiny_model, pictures, tmp_path, fault):
    """The graph as a runtime computes it that ignores `antialias`, or as a caller's swapped channels come out."""
    onnx.save(FAULTS[fault](onnx.load(tiny_model)), tmp_path / "faulty.onnx")
    done = run(caller, tmp_path / "faulty.onnx", pictures[0], code=1)
    assert re.search("faulty.onnx: golden sample '.*' differs by", done.stderr)


@both_callers
def test_another_version_is_refused(caller, tiny_model, pictures, tmp_path):
    newer = changed(tiny_model, tmp_path / "newer.onnx", "tl.spec", lambda spec: spec.update(version=3))
    assert "newer.onnx: tl.spec: version 3, expected 1 or 2" in run(caller, newer, pictures[0], code=1).stderr
    bare = onnx.load(tiny_model)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    assert "bare.onnx: tl.spec: version " in run(caller, tmp_path / "bare.onnx", pictures[0], code=1).stderr


@both_callers
def test_a_model_for_images_of_fewer_bits_is_refused(caller, tiny_model, pictures, tmp_path):
    model = onnx.load(tiny_model)
    model.metadata_props.add(key="tl.bit_depth", value="12")
    onnx.save(model, tmp_path / "deep.onnx")
    assert "deep.onnx: tl.bit_depth 12: this caller" in run(caller, tmp_path / "deep.onnx", pictures[0], code=1).stderr


@both_callers
def test_what_is_no_model_is_refused_in_one_line(caller, tiny_model, pictures, tmp_path):
    (tmp_path / "half.onnx").write_bytes(tiny_model.read_bytes()[:5000])
    for path in (pictures[0], tmp_path / "half.onnx", tmp_path / "absent.onnx"):
        done = run(caller, path, pictures[0], code=1)
        assert done.stderr.startswith(f"{path}: ")
        assert len(done.stderr.splitlines()) == 1
    assert "usage: " in run(caller, tiny_model, code=2).stderr


def changed(model, path, key, change) -> Path:
    """A copy of the model with something else in its metadata."""
    copy = onnx.load(model)
    (entry,) = (entry for entry in copy.metadata_props if entry.key == key)
    document = json.loads(entry.value)
    change(document)
    entry.value = json.dumps(document)
    onnx.save(copy, path)
    return path


def test_the_python_caller_needs_neither_tl_infer_nor_anything_else(tiny_model, pictures):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = (
        "import runpy, sys; caller = sys.argv[1]; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(caller, run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "ours = {name.split('.')[0] for name in sys.modules} & {'tl_infer', 'tl_train', 'onnx', 'torch', 'click'}\n"
        "assert not ours, ours\n"
    )
    arguments = [sys.executable, "-c", code, PYTHON_CALLER[1], str(tiny_model), str(pictures[0])]
    subprocess.run(arguments, env=environment, check=True, capture_output=True, timeout=120)


def test_node_packages_are_pinned_exactly():
    dependencies = json.loads((CALLERS / "package.json").read_text())["dependencies"]
    assert dependencies
    for name, version in dependencies.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
    locked = json.loads((CALLERS / "package-lock.json").read_text())["packages"]
    for name, version in dependencies.items():
        assert locked[f"node_modules/{name}"]["version"] == version
    for name, package in locked.items():
        assert "resolved" not in package, name
        assert not name or "integrity" in package, name


def test_the_caller_in_the_documentation_runs(tiny_model, shapes, tmp_path, monkeypatch, capsys):
    text = (CALLERS.parents[1] / "docs" / "callers.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    shutil.copy(tiny_model, tmp_path / "photos.onnx")
    shutil.copy(shapes / "circle" / "circle0.png", tmp_path / "plain.png")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "callers.md", "exec"), {})
    label, probability = capsys.readouterr().out.split()
    result = Classifier(tiny_model).classify("plain.png", threshold=0)
    assert label == result.label
    assert float(probability) == pytest.approx(result.probability, abs=LOSSLESS)
