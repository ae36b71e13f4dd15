import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from PIL import Image

from support.loading import BY_STEPS
from support.pictures import draw_shape
from support.sixteen_bit_files import deep_set
from tl_export import ExportError, ExportOptions, VerificationError, check, export
from tl_export.graph.assemble import assemble
from tl_export.graph.network_part import copy_of
from tl_export.proof.verify import verify
from tl_infer import Classifier, Limits, ModelSpec, load_image
from tl_train import TrainConfig, train
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder

TL_EXPORT = [sys.executable, "-m", "tl_export"]


def test_the_file_is_one_valid_model_with_everything_inside(tiny_model, tiny_run):
    model = onnx.load(tiny_model, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert model.ir_version == 8
    assert not model.graph.value_info
    assert not [tensor for tensor in model.graph.initializer if tensor.external_data]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["names"]) == {"0": "circle", "1": "cross", "2": "square"}
    spec = ModelSpec.from_json(metadata["tl.spec"])
    run_spec = ModelSpec.from_json((tiny_run / "spec.json").read_text())
    assert (spec.labels, spec.preprocess) == (run_spec.labels, run_spec.preprocess)
    assert spec.parity is not None
    assert spec.parity.pictures == 6
    assert spec.parity.top1_agreement == 1
    assert spec.parity.max_probability_difference < 1e-4


def test_a_batch_says_what_one_by_one_says(tiny_model):
    from tl_infer.model.modelfile import read_model
    from tl_infer.model.session import Session

    session = Session(read_model(tiny_model), threads=1)
    images = np.random.default_rng(0).integers(0, 256, (5, 50, 70, 3), dtype=np.uint8)
    probabilities, logits = session.run(images, ["probabilities", "logits"])
    assert probabilities.shape == logits.shape == (5, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    single = np.concatenate([session.run(image[np.newaxis], ["probabilities"])[0] for image in images])
    np.testing.assert_allclose(probabilities, single, atol=1e-6)


def test_temperature_softens_the_probabilities(traced, tmp_path):
    import dataclasses

    network, spec = traced
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    scores = {}
    for temperature in (1.0, 4.0):
        model = assemble(copy_of(network), dataclasses.replace(spec, temperature=temperature))
        top = Classifier(model.SerializeToString()).classify(picture, top_k=None).top
        scores[temperature] = np.log([score.probability for score in top])
    np.testing.assert_allclose(np.diff(scores[1.0]) / 4, np.diff(scores[4.0]), atol=1e-4)


def test_a_failed_proof_leaves_no_file_and_an_old_one_as_it_was(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    out = tmp_path / "model.onnx"
    picture = tmp_path / "broken.png"
    picture.write_text("no picture")
    with pytest.raises(VerificationError, match=r"broken.png: not an image.*cannot verify"):
        export(run, out, ExportOptions(images=[picture]))
    assert not out.exists()
    out.write_text("old")
    with pytest.raises(ExportError, match=r"exists already; .* --overwrite"):
        export(run, out)
    with pytest.raises(VerificationError):
        export(run, out, ExportOptions(images=[picture]), overwrite=True)
    assert out.read_text() == "old"


def test_export_from_the_shell(tiny_run, tmp_path):
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*TL_EXPORT, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    out = tmp_path / "model.onnx"
    done = run(tiny_run, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "Verified on 6 images: the same top-1 on all" in done.stdout
    assert done.stdout.splitlines()[-1] == f"Model: {out}"
    assert done.stderr.splitlines()[0] == "Tracing timm:test_efficientnet"
    for stage in ("decode", "tensor", "embedding", "logits", "heatmap", "probabilities", "label", "batch"):
        assert f"\n{stage} " in "\n" + done.stdout
    for arguments, message in [
        ((tmp_path, "--out", tmp_path / "b.onnx"), "config.toml is missing"),
        ((tmp_path / "typo",), "typo: no such folder; expected one that tl-train wrote"),
        ((tiny_run, "--out", tmp_path / "no" / "b.onnx"), "does not exist; make it first"),
        ((tiny_run, "--out", tmp_path), "is a folder"),
        ((tiny_run, "--out", tmp_path / "b.onnx", "--images", tmp_path / "typo"), "typo: no such file or folder"),
    ]:
        done = run(*arguments)
        assert done.returncode == 1
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.md", "model.onnx", "model.parity.json"]


def test_gray_pictures_export_too(shapes, tmp_path):
    fields = {"arch": "timm:test_efficientnet", "weights": "none", "size": 32, "epochs": 1, **BY_STEPS, "color": "gray"}
    train(TrainConfig.of(str(shapes), **fields), tmp_path / "run")
    result = export(tmp_path / "run", tmp_path / "gray.onnx")
    classifier = Classifier(result.path)
    assert classifier.spec.preprocess.color == "gray"
    color = Image.open(next(shapes.glob("circle/*.png")))
    assert classifier.classify(color, None) == classifier.classify(color.convert("L"), None)


def test_an_appended_head_exports_too(shapes, tmp_path):
    fields = {"arch": "timm:test_efficientnet", "weights": "none", "size": 32, "epochs": 1, **BY_STEPS, "mode": "head"}
    train(TrainConfig.of(str(shapes), head="append", **fields), tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["run"]
    assert metrics["head"] == "append"
    assert metrics["trained_parameters"] == 1000 * 3 + 3
    assert metrics["loaded_weights"] == "none; all parameters started at random"
    result = export(tmp_path / "run", tmp_path / "appended.onnx")
    assert result.parity.top1_agreement == 1
    assert Classifier(result.path).labels == ("circle", "cross", "square")


@pytest.mark.parametrize(
    ("fit", "fields"),
    [
        ("letterbox", {"fill": "#ff8000"}),
        ("pad", {"fill": "white", "anchor": "bottom-left", "color": "gray"}),
        ("crop", {"resize_px": 80}),
    ],
)
@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_every_fit_is_proven_on_photographs(traced, tiny_run, trained_on, photos, fit, fields, resample):
    import dataclasses

    from tl_train.preprocess.graph import spec_for

    network, spec = traced
    config = TrainConfig.of("digits", fit=fit, resample=resample, **fields)
    preprocess = spec_for(config.input, spec.preprocess.size, spec.preprocess.mean, spec.preprocess.std)
    changed = dataclasses.replace(spec, preprocess=preprocess)
    file = assemble(copy_of(network), changed).SerializeToString()
    pictures = [*RunFolder(tiny_run).held_out_files(), *photos[::10]]
    assert verify(trained_on(tiny_run, pictures, changed), file, Progress()).top1_agreement == 1
    images = np.random.default_rng(0).integers(0, 256, (3, 90, 40, 3), dtype=np.uint8)
    assert len({result.probability for result in Classifier(file).classify_many(images)}) == 3


@pytest.mark.parametrize(
    "options",
    [
        "--fit letterbox --fill #123456 --resample bicubic",
        "--fit pad --anchor top-right",
        "--fit crop --resize-px 40",
        "--fit squash --size 32x96",
        "--fit letterbox --size 64x32 --anchor bottom-right",
        "--fit crop --size 64x32 --resize-px 70",
    ],
)
def test_every_fit_from_the_shell_to_the_file(shapes, tmp_path, options):
    code = "from tl_train.cli import main; main()"
    tiny = ["--arch", "timm:test_efficientnet", "--weights", "none", "--size", "32"]
    arguments = [str(shapes), "--out", str(tmp_path / "run"), *tiny, *options.split()]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, timeout=120)
    result = export(tmp_path / "run", tmp_path / "model.onnx")
    preprocess = Classifier(result.path).spec.preprocess
    given = dict(zip(options.split()[::2], options.split()[1::2], strict=True))
    assert preprocess.fit == given["--fit"]
    assert preprocess.anchor == given.get("--anchor", "center")
    assert preprocess.fill == ((0x12, 0x34, 0x56) if "--fill" in given else (0, 0, 0))
    assert preprocess.resample == given.get("--resample", "bilinear")
    assert preprocess.resize_px == (int(given["--resize-px"]) if "--resize-px" in given else None)
    assert "x".join(map(str, preprocess.size)) == given.get("--size", "32x32")


def test_the_depth_of_sixteen_bit_images_goes_from_the_shell_into_the_file(tmp_path):
    root = deep_set(tmp_path / "deep", 4095)
    draw_shape("circle", 1).resize((300, 200)).save(root / "a" / "large.png")
    code = "from tl_train.cli import main; main()"
    options = ["--arch", "timm:test_efficientnet", "--weights", "none", "--size", "32", "--mode", "head"]
    options += ["--bit-depth", "12", "--test-split", "0.5", "--max-pixels", "60000"]
    arguments = [str(root), "--out", str(tmp_path / "run"), *options]
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, timeout=300)
    assert b"16-bit" not in done.stderr
    result = export(tmp_path / "run", tmp_path / "model.onnx")
    assert result.proof.top1_agreement == 1
    classifier = Classifier(result.path)
    assert classifier.limits.bit_depth == 12
    path = next(path for path in RunFolder(tmp_path / "run").held_out_files() if path.stem != "large")
    expected = classifier.classify(load_image(path, Limits(bit_depth=12)), top_k=None).top
    assert classifier.classify(path, top_k=None).top == expected
    assert "| 16-bit images | values of 12 bits, scaled to 8 |" in (tmp_path / "model.md").read_text()
    check(result.path, tmp_path / "run")
    other = onnx.load(result.path)
    kept = [entry for entry in other.metadata_props if entry.key != "tl.bit_depth"]
    del other.metadata_props[:]
    other.metadata_props.extend(kept)
    onnx.save(other, tmp_path / "other.onnx")
    with pytest.raises(VerificationError, match="first at stage 'decode'"):
        check(tmp_path / "other.onnx", tmp_path / "run")
