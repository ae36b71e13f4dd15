import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tests.support.earlier_form import with_earlier_resize

from tl_export import VerificationError, check
from tl_export.companions import check_companions
from tl_export.graph.assemble import set_spec
from tl_export.proof.faults import without_antialias
from tl_export.proof.precision import precision_of
from tl_infer import Classifier
from tl_infer.errors import ModelFileError, TlError
from tl_train.errors import RunError

TL_EXPORT = [sys.executable, "-m", "tl_export"]


def changed(model, path, change):
    file = onnx.load(model)
    change(file)
    onnx.save(file, path)
    return path


def test_a_good_file_passes_with_and_without_its_run(tiny_model, tiny_run, photos):
    result = check(tiny_model)
    assert result.companions == ("shapes.parity.json", "shapes.md")
    assert (result.opset, result.precision, result.golden.samples, result.proof) == (18, "fp32", 6, None)
    assert result.golden.max_difference < 1e-6
    proof = check(tiny_model, tiny_run).proof
    assert proof is not None
    assert (proof.pictures, proof.top1_agreement) == (6, 1)
    proof = check(tiny_model, tiny_run, images=photos, verify_count=3).proof
    assert proof is not None
    assert proof.pictures == 3


def test_files_with_the_earlier_resize_still_run_but_cannot_be_compared_with_their_run(
    tiny_model, tiny_run, photos, tmp_path
):
    earlier = tmp_path / "earlier.onnx"
    onnx.save(with_earlier_resize(onnx.load(tiny_model)), earlier)
    assert check(earlier).golden.max_difference < 1e-2
    for photo in photos[:5]:
        now, then = (Classifier(path).classify(photo) for path in (tiny_model, earlier))
        assert now.label == then.label
        assert now.probability == pytest.approx(then.probability, abs=1e-2)
    with pytest.raises(VerificationError, match=r"earlier\.onnx: its golden samples are right, .* an earlier version"):
        check(earlier, tiny_run)


def spoil_resize(file):
    file.CopyFrom(without_antialias(file))


def two_opsets(file):
    file.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))


def stale_shape(file):
    file.graph.value_info.append(helper.make_tensor_value_info("tensor", 1, [1]))


def other_names(file):
    for entry in file.metadata_props:
        if entry.key == "names":
            entry.value = json.dumps({"0": "cross", "1": "circle", "2": "square"})


def without_golden(file):
    (entry,) = [entry for entry in file.metadata_props if entry.key == "tl.golden"]
    file.metadata_props.remove(entry)


def damaged_golden(file):
    (entry,) = [entry for entry in file.metadata_props if entry.key == "tl.golden"]
    entry.value = entry.value[:-1]


def other_answers(file):
    (entry,) = [entry for entry in file.metadata_props if entry.key == "tl.golden"]
    document = json.loads(entry.value)
    document["samples"][2]["probabilities"].reverse()
    entry.value = json.dumps(document)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (two_opsets, r"opset imports .*ai.onnx.ml.*expected one, of version 18"),
        (stale_shape, r"value_info \(tensor\), expected none"),
        (other_names, "found names .*cross.*, expected the labels of tl.spec"),
        (without_golden, "has no golden samples"),
        (damaged_golden, "tl.golden: not valid JSON"),
        (other_answers, r"self-test failed: sample 'square' differs by 0\.\d+ in a probability"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tiny_model, tmp_path, change, message):
    path = changed(tiny_model, tmp_path / "changed.onnx", change)
    with pytest.raises(TlError, match=message) as error:
        check(path)
    assert str(error.value).startswith(f"{path}: ")


def test_files_of_two_exports_are_not_taken_for_one(tiny_model, tmp_path):
    """A kill between two renames leaves such a mixture."""
    model, parity, card = (tmp_path / f"m{end}" for end in (".onnx", ".parity.json", ".md"))
    for path in (model, parity, card):
        shutil.copy(tiny_model.with_name(path.name.replace("m.", "shapes.", 1)), path)
    digest = hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert check_companions(model, digest) == ("m.parity.json", "m.md")
    assert f"    {digest}  shapes.onnx\n" in card.read_text()
    other = "0" * 64
    with pytest.raises(VerificationError, match=rf"m.parity.json: belongs to another export: .*{digest} of m"):
        check_companions(model, other)
    parity.write_text(parity.read_text().replace(digest, other))
    with pytest.raises(VerificationError, match=rf"m.md: belongs to another export: it has SHA-256 {digest} of m.onnx"):
        check_companions(model, other)
    card.write_text(card.read_text().replace(digest, other))
    with pytest.raises(VerificationError, match=r"m.md: belongs to another export: .* of m.parity.json, which is"):
        check_companions(model, other)
    parity.write_text("[" * 100_000)
    with pytest.raises(VerificationError, match=r"m.parity.json: not the proof of a model"):
        check_companions(model, other)
    parity.unlink()
    card.write_text("My own notes.")
    assert check_companions(model, other) == ()
    os.mkfifo(parity)
    with pytest.raises(VerificationError, match=r"m.parity.json: cannot be read: not a regular file"):
        check_companions(model, other)


def test_no_file_another_run_and_a_spoiled_graph(tiny_model, tiny_run, tmp_path, photos):
    with pytest.raises(ModelFileError, match="no such file"):
        check(tmp_path / "typo.onnx")
    with pytest.raises(RunError, match="no such folder"):
        check(tiny_model, tmp_path / "typo")
    spoiled = changed(tiny_model, tmp_path / "spoiled.onnx", spoil_resize)
    with pytest.raises(TlError, match=r"sample 'fine pattern'|first at stage 'tensor'"):
        check(spoiled, tiny_run, images=photos[:3])


def test_labels_that_are_not_the_runs(tiny_model, tiny_run, tmp_path):
    import dataclasses

    from tl_infer.model.golden import GoldenSet
    from tl_train.run_folder.folder import RunFolder

    def rename(file):
        (entry,) = [entry for entry in file.metadata_props if entry.key == "tl.golden"]
        spec = RunFolder(tiny_run).load_model()[1]
        set_spec(file, dataclasses.replace(spec, labels=("a", "b", "c")), GoldenSet.from_json(entry.value, 3))

    with pytest.raises(VerificationError, match="first at stage 'label'"):
        check(changed(tiny_model, tmp_path / "renamed.onnx", rename), tiny_run)


def said(change):
    def edit(file):
        (entry,) = [entry for entry in file.metadata_props if entry.key == "tl.spec"]
        document = json.loads(entry.value)
        change(document)
        entry.value = json.dumps(document)

    return edit


def other_depth(file):
    helper.set_model_props(file, {**{entry.key: entry.value for entry in file.metadata_props}, "tl.bit_depth": "12"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (said(lambda spec: spec.update(abstain_below=0.999)), r"abstain_below: found 0.999, expected None"),
        (said(lambda spec: spec["preprocess"].update(fit="pad")), r"preprocess.fit: found 'pad', expected 'squash'"),
        (said(lambda spec: spec["metrics"].update(test_accuracy=1.0)), r"metrics: found \{'test_accuracy': 1.0\}"),
        (said(lambda spec: spec.update(data_fingerprint="0" * 64)), r"data_fingerprint: found '0+\.\.\.0+', expected"),
        (other_depth, r"bit_depth: found 12, expected None"),
    ],
    ids=["threshold", "fit", "accuracy", "fingerprint", "bit depth"],
)
def test_metadata_that_are_not_the_runs_are_found_where_no_answer_shows_them(
    tiny_model, tiny_run, tmp_path, change, message
):
    path = changed(tiny_model, tmp_path / "changed.onnx", change)
    with pytest.raises(VerificationError, match=message):
        check(path, tiny_run, verify_count=1)


def of_golden(**values):
    def edit(file):
        (entry,) = [entry for entry in file.metadata_props if entry.key == "tl.golden"]
        entry.value = json.dumps({**json.loads(entry.value), **values})

    return edit


def shifted_heatmap(file):
    (node,) = [node for node in file.graph.node if "heatmap" in node.output]
    node.output[0] = "unshifted"
    file.graph.node.append(helper.make_node("Add", ["unshifted", "shift"], ["heatmap"]))
    file.graph.initializer.append(numpy_helper.from_array(np.array(0.1, np.float32), "shift"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_golden(tolerance=0.9), r"found tl.golden: tolerance 0.9, expected 0.01 or less"),
        (
            said(lambda spec: spec.update(temperature=7.0)),
            r"contradicts itself: golden sample '.*at the temperature in",
        ),
        (shifted_heatmap, r"contradicts itself: golden sample '.*: 0\.[01]\d* of the largest logit or 1 between its"),
    ],
    ids=["tolerance", "temperature", "heatmap"],
)
def test_a_file_that_contradicts_itself_is_found_without_its_run(tiny_model, tmp_path, change, message):
    path = changed(tiny_model, tmp_path / "changed.onnx", change)
    assert Classifier(path).self_test().max_difference < 1e-6
    with pytest.raises(VerificationError, match=message) as error:
        check(path)
    assert str(error.value).startswith(f"{path}: ")


def test_metrics_of_int8_are_not_those_of_another_file(tiny_model, tiny_run, tmp_path):
    claim = said(lambda spec: spec["metrics"].update(int8_accuracy=1.0))
    with pytest.raises(VerificationError, match=r"metadata are not the run's: metrics: found .*'int8_accuracy': 1.0"):
        check(changed(tiny_model, tmp_path / "changed.onnx", claim), tiny_run)


def test_nodes_that_no_output_depends_on_do_not_make_a_file_int8_or_fp16(tiny_model):
    file = onnx.load(tiny_model)
    for name, value in (("step", np.float32(1)), ("zero", np.uint8(0)), ("half", np.float16(1))):
        file.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    file.graph.node.append(helper.make_node("QuantizeLinear", ["logits", "step", "zero"], ["unused"]))
    assert precision_of(file) == "fp32"


def test_from_the_shell(tiny_model, tiny_run, tmp_path):
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*TL_EXPORT, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    done = run("--check", tiny_model, "--run", tiny_run)
    assert done.returncode == 0, done.stderr
    assert "Structure: one file, fp32, opset 18, outputs probabilities, logits, embedding, heatmap" in done.stdout
    assert "Golden samples: 6, largest difference " in done.stdout
    assert "Verified on 6 images: the same top-1 on all" in done.stdout
    shutil.copy(tiny_model, tmp_path / "copy.onnx")
    changed(tiny_model, tmp_path / "bad.onnx", without_golden)
    done = run("--check", tmp_path / "bad.onnx")
    assert done.returncode == 1
    assert "has no golden samples" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'DIR'"),
        (["run", "--run", "run"], "--run goes with --check"),
        (["run", "--check", "model.onnx"], "--check writes nothing"),
        (["--check", "model.onnx", "--out", "b.onnx"], "--check writes nothing"),
        (["--check", "model.onnx", "--images", "a"], "--images and --verify-count with --check need --run DIR"),
        (["--check", "model.onnx", "--verify-count", "3"], "--images and --verify-count with --check need --run DIR"),
        (["--check", "model.onnx", "--outputs", "logits"], "--check takes the file as it is: give no --outputs"),
        (["run", "--outputs", "logits,heat"], "found 'heat', expected some of probabilities, logits"),
        (["run", "--verify-count", "0"], "--verify-count"),
    ],
)
def test_wrong_usage(arguments, message):
    from click.testing import CliRunner

    from tl_export.cli import command

    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert message in result.output
