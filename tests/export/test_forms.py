"""Files with float16 weights and in int8: made, proven, judged, refused; all from the shapes that they learned."""

import dataclasses
import hashlib
import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from huggingface_hub import ModelCard
from onnx import helper, numpy_helper
from PIL import Image

from support.loading import train_on_shapes
from tl_export import ExportError, ExportOptions, Precision, VerificationError, check, export
from tl_export.cli import command
from tl_export.graph.assemble import assemble, set_spec, set_temperature
from tl_export.graph.network_part import copy_of
from tl_export.pipeline import card_path, parity_path
from tl_export.proof.faults import with_swapped_channels
from tl_export.proof.golden import golden_samples
from tl_export.proof.precision import FP16_MAX_PROBABILITY_DIFFERENCE, RULES, precision_of
from tl_export.proof.proof import parity_json
from tl_export.proof.trained import Trained
from tl_export.proof.verify import verify
from tl_export.run_pictures import RunImages, held_out_pictures, run_dataset
from tl_export.smaller.form import Formed, give_form
from tl_export.smaller.gates import Allowance
from tl_export.smaller.int8 import QuantizeSettings, quantize
from tl_infer import Classifier
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder

# Nothing here depends on how fast the machine is.
INT8 = ExportOptions(precision=Precision.INT8, gate="none")
FP16 = ExportOptions(precision=Precision.FP16)


@pytest.fixture(scope="module")
def data(shapes, tmp_path_factory):
    return shutil.copytree(shapes, tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """Of a size at which int8 is faster."""
    return train_on_shapes(data, tmp_path_factory.mktemp("run"), size=160)


@pytest.fixture(scope="module")
def plain(run, tmp_path_factory):
    return export(run, tmp_path_factory.mktemp("fp32") / "model.onnx")


@pytest.fixture(scope="module")
def halved(run, tmp_path_factory):
    return export(run, tmp_path_factory.mktemp("fp16") / "model.onnx", FP16)


@pytest.fixture(scope="module")
def int8(run, tmp_path_factory):
    return export(run, tmp_path_factory.mktemp("int8") / "model.onnx", INT8)


def with_shifted(file: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """A copy that gives another value there, but computes with the right one."""
    copy = copy_of(file)
    for node in copy.graph.node:
        for names in (node.input, node.output):
            names[:] = ["unshifted" if name == output else name for name in names]
    copy.graph.node.append(helper.make_node("Add", ["unshifted", "shift"], [output]))
    copy.graph.initializer.append(numpy_helper.from_array(np.array(3, np.float32), "shift"))
    return copy


def nodes_before(model: onnx.ModelProto, prefix: str) -> list[bytes]:
    return [node.SerializeToString() for node in model.graph.node if node.name.startswith(prefix)]


def test_float16_weights_are_smaller_proven_and_say_so(plain, halved, run):
    assert halved.size_bytes < 0.75 * plain.size_bytes  # small layers stay float32, and this network has many
    assert precision_of(onnx.load(halved.path)) is halved.proof.precision is Precision.FP16
    tolerances = halved.parity.tolerances
    assert tolerances["probabilities"] == FP16_MAX_PROBABILITY_DIFFERENCE
    assert tolerances["label"] == 2 * FP16_MAX_PROBABILITY_DIFFERENCE
    assert tolerances["tensor"] == 1e-5
    assert "logits" not in tolerances
    assert "large weights stored as float16" in onnx.load(halved.path).doc_string
    card = ModelCard.load(card_path(halved.path))
    assert "(float32, with large weights stored as float16)" in card.text
    assert card.data.eval_results[0].metric_name == "Accuracy (float32 model)"
    document = json.loads(parity_path(halved.path).read_text())
    assert (document["stored_as"], document["other_labels"]) == ("fp16-weights", 0)
    assert Classifier(halved.path).self_test().max_difference < 1e-6
    assert check(halved.path).precision is Precision.FP16
    proof = check(halved.path, run).proof
    assert proof is not None
    assert proof.pictures == 6


def test_without_logits_too(run, tmp_path):
    for precision in (Precision.FP16, Precision.INT8):
        out = tmp_path / f"{precision.value}.onnx"
        export(run, out, ExportOptions(outputs=("probabilities",), precision=precision, gate="none"))
        assert check(out, run).outputs == ("probabilities",)


def test_the_same_run_gives_the_same_bytes(run, halved, int8, tmp_path):
    """int8 from another process, too."""
    out = tmp_path / "model.onnx"
    arguments = [sys.executable, "-m", "tl_export", str(run), "--out", str(out), "--int8", "--gate", "none"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert " MB, int8, outputs " in done.stdout
    assert out.read_bytes() == int8.path.read_bytes()
    done = CliRunner().invoke(command, [str(run), "--out", str(out), "--overwrite", "--fp16-weights"])
    assert done.exit_code == 0, done.output
    assert out.read_bytes() == halved.path.read_bytes()


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_faults_are_refused_in_every_form(run, halved, int8, precision, trained_on):
    spec = RunFolder(run).load_model()[1]
    file = onnx.load({Precision.FP16: halved, Precision.INT8: int8}[precision].path)

    def prove(spoiled: onnx.ModelProto, changed=spec) -> None:
        verify(trained_on(run, spec=changed), spoiled.SerializeToString(), Progress(), RULES[precision])

    with pytest.raises(VerificationError, match="first at stage 'tensor'"):
        prove(with_swapped_channels(file))
    permuted = dataclasses.replace(spec, labels=(*spec.labels[1:], spec.labels[0]))
    with pytest.raises(VerificationError, match="first at stage 'label'"):
        prove(file, permuted)
    shown = {Precision.FP16: "first at stage 'heatmap'", Precision.INT8: "and the mean of its heatmap, allowed 0.05"}
    with pytest.raises(VerificationError, match=shown[precision]):
        prove(with_shifted(file, "heatmap"))
    with pytest.raises(VerificationError, match="first at stage 'embedding'"):
        prove(with_shifted(file, "embedding"))
    if precision is Precision.FP16:
        colder = dataclasses.replace(spec, temperature=spec.temperature * 3)
        with pytest.raises(VerificationError, match="first at stage 'probabilities'"):
            prove(file, colder)


def test_what_an_int8_file_says_of_itself_comes_out_again(run, int8, tmp_path):
    """Its own metrics are in no run: the file's answers to the held-out images have to give them."""
    assert check(int8.path, run).proof is not None

    def altered(name, **metrics):
        file, spec = onnx.load(int8.path), Classifier(int8.path).spec
        set_spec(file, dataclasses.replace(spec, metrics={**spec.metrics, **metrics}), int8.golden.samples)
        onnx.save(file, tmp_path / name)
        return tmp_path / name

    said = int8.int8.int8
    worse = altered("worse.onnx", int8_log_loss=said.log_loss + 0.5)
    with pytest.raises(VerificationError, match=r"worse.onnx: found metrics .*, as on the run's held-out images here"):
        check(worse, run)
    with pytest.raises(VerificationError, match=r"more.onnx: found metrics .*int8_f1.*, expected \{'int8_accuracy'"):
        check(altered("more.onnx", int8_f1=0.5), run)
    file = onnx.load(altered("colder.onnx"))
    spec = dataclasses.replace(Classifier(int8.path).spec, temperature=4.0)
    set_temperature(file, spec)
    set_spec(file, spec)
    trained = Trained.load(run)
    golden = golden_samples(
        file.SerializeToString(), trained, dataclasses.replace(RULES[Precision.INT8], tolerances={})
    )
    set_spec(file, spec, golden.samples)
    onnx.save(file, tmp_path / "colder.onnx")
    with pytest.raises(VerificationError, match=r"colder.onnx: found metrics|first at stage 'probabilities': by more"):
        check(tmp_path / "colder.onnx", run)


def test_another_network_is_refused(run, traced, trained_on):
    file = assemble(copy_of(traced[0]), traced[1])
    with pytest.raises(VerificationError, match="first at stage"):
        give_form(file, Precision.FP16, trained_on(run, spec=traced[1]), Progress(), Allowance(0.005))


def test_int8_is_smaller_and_says_what_it_costs(plain, int8, run):
    result = int8.int8
    assert result is not None
    assert result.kept
    assert int8.size_bytes < 0.7 * plain.size_bytes
    assert result.reason.startswith("kept int8: int8 is ")
    assert "95% interval" in result.reason
    assert "points could go unseen on so many; the head corrected towards float32's logits" in result.reason
    assert result.attempts[0].layers == 0
    assert result.attempts[0].loss.pictures == 11  # of 21 training images; the others set the ranges
    file, fp32 = onnx.load(int8.path), onnx.load(plain.path)
    assert precision_of(file) is Precision.INT8
    assert nodes_before(file, "preprocess/") == nodes_before(fp32, "preprocess/") != []
    weights = [t for t in file.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1]
    assert weights
    zero_points = {t.name: t for t in file.graph.initializer if t.name.endswith("/zero")}
    assert any(t.data_type == onnx.TensorProto.UINT8 for t in zero_points.values())
    document = json.loads(parity_path(int8.path).read_text())
    assert document["model_sha256"] == hashlib.sha256(int8.path.read_bytes()).hexdigest()
    assert document["int8"]["kept"] is True
    assert document["int8"]["int8"]["size_bytes"] < document["int8"]["fp32"]["size_bytes"]
    assert document["fp32"]["stored_as"] == "fp32"
    card = ModelCard.load(card_path(int8.path))
    assert "| int8 | 0.2 |" in card.text
    found = {one.metric_name: one.metric_value for one in card.data.eval_results}
    assert found == {"Accuracy": result.int8.score, "Log-loss": result.int8.log_loss}
    classifier = Classifier(int8.path)
    assert classifier.spec.metrics["int8_accuracy"] == result.int8.score
    assert classifier.self_test().max_difference < 1e-6
    proof = check(int8.path, run).proof
    assert proof is not None
    assert proof.precision is Precision.INT8
    assert [stage.stage for stage in proof.stages if stage.tolerance is not None] == ["decode", "tensor"]


def test_both_proofs_of_int8_name_images_in_the_run_by_their_place_there(run, plain):
    stages = tuple(dataclasses.replace(stage, worst=run / "held_out" / "1.png") for stage in plain.proof.stages)
    proof = dataclasses.replace(plain.proof, stages=stages)
    formed = Formed(onnx.ModelProto(), proof, fp32_proof=proof)
    text = parity_json(formed.proof, {}, "", run, formed.document(run))
    assert text.count('"worst": "held_out/1.png"') == 2 * len(stages)


def test_int8_that_loses_accuracy_is_refused_and_fp32_written(run, data, tmp_path):
    """Ranges measured on black pictures fit no others."""
    kept = {path.resolve() for path in RunFolder(run).held_out_files()}
    changed = [path for path in data.rglob("*.png") if path.resolve() not in kept]
    before = {path: path.read_bytes() for path in changed}
    for path in changed:
        Image.new("RGB", (50, 50)).save(path)
    try:
        done = CliRunner().invoke(command, [str(run), "--out", str(tmp_path / "model.onnx"), "--int8"])
    finally:
        for path, content in before.items():
            path.write_bytes(content)
    assert done.exit_code == 0, done.output
    assert "the data changed since the training" in done.output
    assert "\nkept fp32: " in done.output
    assert "0.5 allowed" in done.output
    assert precision_of(onnx.load(tmp_path / "model.onnx")) is Precision.FP32
    assert check(tmp_path / "model.onnx", run).proof is not None
    document = json.loads(parity_path(tmp_path / "model.onnx").read_text())
    assert (document["stored_as"], document["int8"]["kept"]) == ("fp32", False)
    assert "kept fp32: " in card_path(tmp_path / "model.onnx").read_text()


def test_pictures_that_are_missing_are_named(run, plain, tmp_path):
    file, settings = onnx.load(plain.path), QuantizeSettings(allowance=Allowance(0.0))
    images = RunImages.load(RunFolder(run), RunFolder(run).spec(), Progress())
    single = dataclasses.replace(images.dataset, train=images.dataset.train[:1])
    with pytest.raises(ExportError, match="int8 needs 2 training images or more, found 1"):
        quantize(file, dataclasses.replace(images, dataset=single), None, settings)
    with pytest.raises(ExportError, match="int8 needs held-out images to be judged on"):
        quantize(file, dataclasses.replace(images, held_out=[]), None, settings)
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "predictions.csv").write_text("path,label\n")
    with pytest.raises(ExportError, match=r"predictions.csv: no held-out images, so nothing to measure int8 on"):
        held_out_pictures(RunFolder(tmp_path / "run"))


def test_of_changed_data_int8_learns_from_no_held_out_image(run, data, tmp_path):
    """One image less, and the parts are drawn anew."""
    shutil.copytree(run, tmp_path / "run")
    shutil.copytree(data, tmp_path / "data")
    for name in ("config.toml", "predictions.csv"):
        path = tmp_path / "run" / name
        path.write_text(path.read_text().replace(str(data), str(tmp_path / "data")))
    (tmp_path / "data" / "circle" / "circle3.png").unlink()
    folder = RunFolder(tmp_path / "run")
    judging = {str(item.picture) for item in held_out_pictures(folder)}
    drawn = run_dataset(folder, Progress())
    assert judging.intersection(sample.where for sample in drawn.train)
    images = RunImages.load(folder, folder.spec(), Progress())
    assert not judging.intersection(sample.where for sample in images.dataset.train)
    assert len(images.dataset.train) >= 15
    assert images.dataset.val == ()


def test_synthetic_golden_samples_hold_no_picture(run, plain, tmp_path):
    result = export(run, tmp_path / "a.onnx", ExportOptions(golden="synthetic"))
    one = ExportOptions(golden="synthetic", images=RunFolder(run).held_out_files()[:1])
    others = export(run, tmp_path / "c.onnx", one)
    samples = {sample.png for sample in result.golden.samples.samples}
    assert {sample.png for sample in others.golden.samples.samples} == samples
    assert not samples & {sample.png for sample in plain.golden.samples.samples}
    assert check(tmp_path / "a.onnx").golden.samples == 6
    assert "patterns drawn by tl-export" in card_path(tmp_path / "a.onnx").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--int8", "--fp16-weights"], "--fp16-weights and --int8 exclude each other"),
        (["run", "--max-drop", "1"], "--max-drop goes with --int8"),
        (["run", "--gate", "strict"], "--gate goes with --int8"),
        (["--check", "model.onnx", "--gate", "strict"], "--check takes the file as it is"),
        (["run", "--int8", "--max-drop", "-1"], "not in the range 0<=x<=100"),
        (["run", "--int8", "--max-drop", "nan"], "--max-drop"),
        (["--check", "model.onnx", "--int8"], "--check takes the file as it is"),
        (["--check", "model.onnx", "--golden", "synthetic"], "--check takes the file as it is"),
    ],
)
def test_wrong_usage(arguments, message):
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="timing_rounds: found 0, expected 1 or more"):
        QuantizeSettings(allowance=Allowance(0.005), timing_rounds=0)
    for value in (1.1, float("nan")):
        with pytest.raises(ValueError, match=f"max_drop: found {value}, expected 0 to 1"):
            Allowance(value)


def test_interrupted_int8_leaves_no_file(run, data, tmp_path):
    """In the middle of it: the note that the data changed comes right before int8 is calibrated."""
    shutil.copytree(run, tmp_path / "run")
    shutil.copytree(data, tmp_path / "data")
    next((tmp_path / "data").rglob("*.png")).unlink()
    config = (tmp_path / "run" / "config.toml").read_text()
    (tmp_path / "run" / "config.toml").write_text(config.replace(str(data), str(tmp_path / "data")))
    (tmp_path / "out").mkdir()
    options = ["--out", str(tmp_path / "out" / "m.onnx"), "--int8", "--max-drop", "0"]
    arguments = [sys.executable, "-m", "tl_export", str(tmp_path / "run"), *options]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "calibrating int8" in line:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 130
    assert "Interrupted." in rest
    assert "Traceback" not in rest
    assert list((tmp_path / "out").iterdir()) == []
