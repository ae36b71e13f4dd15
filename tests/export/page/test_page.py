"""The page that classifies: what it is made of, and, where there is a browser, what it answers.

The browser needs Chromium, at /usr/bin/chromium or where `TL_CHROMIUM` says, and Node.js; `make browser` installs the
rest.
"""

import base64
import csv
import dataclasses
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from tl_export import ExportError, ExportOptions, Precision, export
from tl_export.graph.assemble import set_spec
from tl_export.page import runtime
from tl_export.page.page import classifier_page
from tl_export.page.runtime import VERSION, BrowserRuntime, browser_runtime
from tl_export.proof.faults import without_antialias
from tl_infer import Classifier, load_image
from tl_infer.cli.output.formats import Columns
from tl_infer.heatmaps import draw_overlay
from tl_infer.model.modelfile import read_model
from tl_infer.model.session import Session
from tl_train.progress import Progress

DRIVER = Path(__file__).parents[2] / "support" / "browser.mjs"
CHROMIUM = Path(os.environ.get("TL_CHROMIUM", "/usr/bin/chromium"))
RUNTIME = Path(runtime.__file__).parent / "runtime"
needs_browser = pytest.mark.skipif(
    not (CHROMIUM.exists() and os.environ.get("TL_PLAYWRIGHT") and shutil.which("node") and RUNTIME.is_dir()),
    reason="needs Chromium, Node.js and `make browser`",
)
FAKE = BrowserRuntime(b"export const env = {};", b"\0asm")

# A browser's JPEG decoder may round otherwise (docs/model-file.md); PNGs are the same pixels, and what is left is how
# two builds of onnxruntime sum. A sum on the other side of a half is a grey level.
LOSSY, LOSSLESS = 0.0125, 0.01


def test_the_page_holds_the_model_and_the_runtime_and_refers_to_nothing_else():
    page = classifier_page(b"a model" * 1000, "cats & <dogs>", FAKE).decode()
    assert "<title>cats &amp; &lt;dogs&gt;</title>" in page
    packed = re.search(r'id="model">([^<]*)<', page)[1]
    assert gzip.decompress(base64.b64decode(packed)) == b"a model" * 1000
    assert "default-src 'none'" in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)
    assert f"onnxruntime-web {VERSION}" in page
    assert "MIT License" in page
    assert not re.search(r"@[A-Z_]+@", page)


def test_the_locked_runtime_is_the_one_that_is_named():
    folder = Path(runtime.__file__).parent
    locked = json.loads((folder / "package-lock.json").read_text())["packages"]["node_modules/onnxruntime-web"]
    assert locked["version"] == VERSION
    assert locked["integrity"].startswith("sha512-")
    assert json.loads((folder / "package.json").read_text())["dependencies"] == {"onnxruntime-web": VERSION}


def test_without_npm_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExportError, match=rf"onnxruntime-web {VERSION} from npm, which is not found; install Node"):
        runtime.fetch(tmp_path / "runtime")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Puts a program in the place of npm, an empty cache in that of the user's, and nothing beside the module."""
    folder, beside = tmp_path / "bin", tmp_path / "beside"
    for made in (folder, beside):
        made.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(Path(runtime.__file__).parent / name, beside)
    monkeypatch.setattr(runtime, "_BESIDE", beside)
    digests = {"ort.wasm.bundle.min.mjs": b"loader", "ort-wasm-simd-threaded.wasm": b"wasm"}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in digests.items()}
    monkeypatch.setattr(runtime, "_SHA256", digests)  # of what that program writes
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(program: str) -> Path:
        (folder / "npm").write_text(f"#!/bin/sh\n{program}\n")
        (folder / "npm").chmod(0o700)
        return tmp_path / "cache" / f"onnxruntime-web-{VERSION}"

    return put


FETCHES = f"""test "$1" = ci && grep -q '"{VERSION}"' package-lock.json || exit 1
mkdir -p node_modules/onnxruntime-web/dist && cd node_modules/onnxruntime-web/dist
printf loader > ort.wasm.bundle.min.mjs; printf wasm > ort-wasm-simd-threaded.wasm"""


def test_the_runtime_is_fetched_once(npm):
    cache = npm(FETCHES)
    assert browser_runtime(Progress()) == BrowserRuntime(b"loader", b"wasm")
    npm("exit 1")
    assert browser_runtime(Progress()) == BrowserRuntime(b"loader", b"wasm")
    (cache / "ort-wasm-simd-threaded.wasm").unlink()
    with pytest.raises(ExportError, match=rf"npm could not install onnxruntime-web {VERSION}: no reason given"):
        browser_runtime(Progress())
    npm("echo first >&2; echo 'npm error code ENOTFOUND' >&2; exit 1")
    with pytest.raises(ExportError, match=rf"npm could not install .* {VERSION}: npm error code ENOTFOUND$"):
        browser_runtime(Progress())
    (cache / "ort-wasm-simd-threaded.wasm").write_bytes(b"was")
    with pytest.raises(
        ExportError, match=rf"{cache}/ort-wasm-.*: has SHA-256 .*, expected .*; remove {cache}, and it is"
    ):
        browser_runtime(Progress())
    os.truncate(cache / "ort-wasm-simd-threaded.wasm", 200_000_001)  # a file with a hole: it takes no room
    with pytest.raises(ExportError, match=rf"{cache}: cannot be read: .*; remove it, and it is fetched again"):
        browser_runtime(Progress())


def test_a_page_whose_name_is_no_text_is_written(npm, tiny_run, tmp_path):
    npm(FETCHES)
    page = tmp_path / os.fsdecode(b"caf\xe9 <&>.html")
    export(tiny_run, tmp_path / "model.onnx", page=page)
    assert r"<title>caf\udce9 &lt;&amp;&gt;</title>" in page.read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [("page.onnx", r"page\.onnx: found suffix '\.onnx', expected \.html"), ("no/page.html", "no does not exist")],
)
def test_a_page_that_cannot_be_written_is_said_at_once(tiny_run, tmp_path, name, message):
    with pytest.raises(ExportError, match=message):
        export(tiny_run, tmp_path / "model.onnx", page=tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Opens a model's page in the browser and lets it classify images: what was seen."""
    folder = tmp_path_factory.mktemp("page")

    def look(model: Path, images=(), name="page", **more: bool) -> dict:
        page, plan = folder / f"{name}.html", folder / "plan.json"
        page.write_bytes(classifier_page(model.read_bytes(), name, browser_runtime(Progress())))
        plan.write_text(json.dumps({"images": [str(image) for image in images], **more}))
        command = ["node", str(DRIVER), str(page), str(plan)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return look


def rows_of(seen: dict) -> list[dict]:
    return list(csv.DictReader(io.StringIO(seen["csv"])))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, photos) -> dict[Path, str]:
    """Files that must not be answered for, and what the page says of them."""
    folder = tmp_path_factory.mktemp("hostile")
    image = Image.open(photos[0]).convert("RGB")
    whole = {suffix: io.BytesIO() for suffix in ("JPEG", "PNG", "WEBP", "GIF", "BMP")}
    for suffix, buffer in whole.items():
        image.save(buffer, suffix)
    jpeg, png, webp, gif, bmp = (buffer.getvalue() for buffer in whole.values())
    small = io.BytesIO()
    image.resize((64, 48)).save(small, "JPEG")
    exif = b"Exif\0\0II*\0" + (8).to_bytes(4, "little") + bytes(6) + small.getvalue()  # as a camera's thumbnail lies
    app1 = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    bomb = bytearray(png)
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    cases = {
        "half.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "half-thumbnail.jpg": (jpeg[:2] + app1 + jpeg[2 : len(jpeg) // 2], "truncated"),
        "half.png": (png[: len(png) // 2], "truncated"),
        "half.webp": (webp[: len(webp) // 2], "truncated"),
        "half.gif": (gif[: len(gif) // 2], "truncated"),
        "half.bmp": (bmp[: len(bmp) // 2], "truncated"),
        "nearly.gif": (gif[:-3], "truncated"),
        "nearly.bmp": (bmp[:-1], "truncated"),
        "bomb.png": (bytes(bomb), "pixels; the limit is 50 million"),
        "zero.png": (png[:16] + bytes(8) + png[24:], "does not say its size"),
        "noise.png": (png[:60] + bytes(reversed(png[60:-12])) + png[-12:], "truncated"),
        "empty.jpg": (b"", "not a JPEG, PNG, WebP, GIF or BMP image"),
        "text.png": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "not a JPEG"),
        "'=cmd.png": (b"=1+1" * 20, "not a JPEG"),
        "=cmd.png": (b"=1+1" * 20, "not a JPEG"),
    }
    for name, (data, _) in cases.items():
        (folder / name).write_bytes(data)
    return {folder / name: message for name, (_, message) in cases.items()}


@needs_browser
def test_the_page_answers_as_the_classifier_and_sends_nothing(tiny_model, photos, hostile, opened, tmp_path):
    rng = np.random.default_rng(0)
    Image.open(photos[1]).convert("RGB").save(tmp_path / "exact.png")
    Image.fromarray(rng.integers(0, 256, (61, 43, 3), dtype=np.uint8)).save(tmp_path / "noise.png")
    for suffix in ("gif", "bmp"):
        Image.open(photos[1]).convert("L").save(tmp_path / f"gray.{suffix}")
    Image.open(photos[1]).convert("RGB").save(tmp_path / "color.bmp")
    Image.open(photos[1]).convert("P").save(
        tmp_path / "animated.gif", save_all=True, append_images=[Image.new("P", (9, 9))]
    )
    Image.open(photos[2]).convert("RGB").resize((4000, 3000)).save(tmp_path / "large.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photos[3]).convert("RGB").save(tmp_path / "turned.jpg", exif=exif, quality=95)
    good = [*photos, *sorted(tmp_path.iterdir())]
    seen = opened(tiny_model, [*good, *hostile])
    assert seen["status"].startswith("Ready. All 6 golden samples come out as in training")
    assert seen["errors"] == []
    assert [request[:5] for request in seen["requests"]] == ["file:", "blob:"]
    rows = rows_of(seen)
    classifier = Classifier(tiny_model)
    columns = Columns(classifier.labels, top_k=None, familiarity=classifier.spec.familiarity is not None).csv_header()
    assert list(rows[0]) == [name for name in columns if name != "ms"]
    for path, row in zip(good, rows, strict=False):
        expected = classifier.classify(path, top_k=len(classifier.labels))
        tolerance = LOSSLESS if path.suffix in (".png", ".gif", ".bmp") else LOSSY
        for score in expected.top:
            assert float(row[f"p({score.label})"]) == pytest.approx(score.probability, abs=tolerance), path.name
        assert row["abstained"] == str(expected.label is None).lower()
    for message, row in zip(hostile.values(), rows[len(good) :], strict=True):
        assert message in row["error"] or "damaged" in row["error"], row
        assert row["label"] == ""
    assert [row["path"] for row in rows[-2:]] == ["''=cmd.png", "'=cmd.png"]


@needs_browser
def test_the_page_of_an_int8_model_answers_as_the_classifier(tiny_run, photos, opened, tmp_path):
    options = ExportOptions(precision=Precision.INT8, gate="none")
    model = export(tiny_run, tmp_path / "int8.onnx", options).path
    seen = opened(model, photos, name="int8")
    assert seen["status"].startswith("Ready. All 6 golden samples come out as in training")
    classifier = Classifier(model)
    tolerance = Session(read_model(model), threads=1).golden.tolerance
    for path, row in zip(photos, rows_of(seen), strict=True):
        for score in classifier.classify(path, top_k=len(classifier.labels)).top:
            assert float(row[f"p({score.label})"]) == pytest.approx(score.probability, abs=tolerance), path.name


@needs_browser
def test_a_model_that_the_browser_computes_wrongly_classifies_nothing(tiny_model, opened, tmp_path):
    onnx.save(without_antialias(onnx.load(tiny_model)), tmp_path / "faulty.onnx")
    seen = opened(tmp_path / "faulty.onnx", name="faulty")
    assert "does not compute what the model should: golden sample “fine pattern” differs by" in seen["status"]


def with_spec(assembled, spec, like: Path, path: Path) -> Path:
    """A model of the same network with another spec, and golden samples of its own."""
    file = assembled(spec)
    session = Session.from_bytes(file.SerializeToString(), path.name)
    golden = Session(read_model(like), threads=1).golden
    samples = [
        dataclasses.replace(
            sample, probabilities=tuple(session.run(load_image(sample.png)[None], ["probabilities"])[0][0].tolist())
        )
        for sample in golden.samples
    ]
    set_spec(file, spec, dataclasses.replace(golden, samples=tuple(samples)))
    onnx.save(file, path)
    return path


@needs_browser
@pytest.mark.parametrize("changes", [{"fit": "letterbox", "anchor": "bottom-right"}, {"fit": "crop", "resize_px": 70}])
def test_heatmaps_lie_where_tl_infer_lays_them_and_the_unsure_are_named(
    changes, tiny_model, traced, assembled, opened, tmp_path
):
    preprocess = dataclasses.replace(traced[1].preprocess, **changes)
    spec = dataclasses.replace(traced[1], preprocess=preprocess, abstain_below=1.0)
    model = with_spec(assembled, spec, tiny_model, tmp_path / "model.onnx")
    images = []
    for number, shape in enumerate([(90, 160, 3), (160, 90, 3), (64, 64, 3)]):
        images.append(tmp_path / f"{number}.png")
        Image.fromarray(np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)).save(images[-1])
    seen = opened(model, images, name=changes["fit"], heat=True)
    assert seen["headings"] == ["Unsure"] * 3
    assert all("the model gives no label. The likeliest is" in note for note in seen["notes"])
    session = Session(read_model(model), threads=1)
    for image, canvas in zip(images, seen["canvases"], strict=True):
        pixels = load_image(image)
        probabilities, heatmap = session.run(pixels[None], ["probabilities", "heatmap"])
        expected = np.asarray(draw_overlay(pixels, heatmap[0, probabilities[0].argmax()], preprocess)).astype(int)
        found = np.asarray(Image.open(io.BytesIO(base64.b64decode(canvas.partition(",")[2]))).convert("RGB")).astype(
            int
        )
        assert np.abs(found - expected).max() <= 3


@needs_browser
def test_images_are_dropped_pasted_and_photographed_and_removed_by_keyboard(tiny_model, photos, opened, tmp_path):
    Image.open(photos[0]).convert("RGB").save(tmp_path / "chosen.png")
    seen = opened(tiny_model, [tmp_path / "chosen.png"], name="other", other=True)
    assert seen["names"] == ["chosen.png", "drop.png", "paste.png", "camera-1.png"]
    assert seen["cameraIsOff"] is True
    assert (seen["afterRemoving"], seen["focused"], seen["afterClearing"]) == (3, "remove", 0)
    assert seen["errors"] == []
