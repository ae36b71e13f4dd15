"""The output `familiarity` from a run to the file: in the graph, the proof, the golden samples, the card; left out."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from support.loading import Notes
from tl_export import ExportOptions, Precision, VerificationError, check, export
from tl_export.graph.familiarity import PREFIX, add_familiarity
from tl_export.graph.network_part import network_part, with_network
from tl_export.pipeline import card_path
from tl_export.proof.precision import precision_of
from tl_export.proof.trained import Trained
from tl_export.proof.verify import verify
from tl_infer import Classifier
from tl_train.errors import RunError
from tl_train.familiarity.score import Familiarity, Scale, unit
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder


@pytest.fixture(scope="module")
def exported(familiar_run, tmp_path_factory):
    return export(familiar_run, tmp_path_factory.mktemp("v2") / "model.onnx", ExportOptions(verify_count=8))


def spec_document(path) -> dict:
    (entry,) = (entry for entry in onnx.load(path).metadata_props if entry.key == "tl.spec")
    return json.loads(entry.value)


def test_the_file_is_of_version_2_and_says_how_familiar_images_are(exported, familiar_run, many_shapes):
    classifier = Classifier(exported.path)
    assert classifier.outputs == ("probabilities", "logits", "embedding", "heatmap", "familiarity") == exported.outputs
    assert spec_document(exported.path)["version"] == 2
    assert classifier.spec.familiarity == RunFolder(familiar_run).spec().familiarity
    trained_on, _ = RunFolder(familiar_run).metrics()["run"]["pictures"].split(" train, ")
    assert classifier.spec.familiarity.images == int(trained_on), "each of them cross-fitted"
    stages = [stage.stage for stage in exported.proof.stages]
    assert stages.index("familiarity") == stages.index("probabilities") + 1
    known = [result.familiarity for result in classifier.classify_many(sorted(many_shapes.rglob("*.png"))[::5])]
    assert np.mean(np.array(known) < 0.05) < 0.2
    assert 0.3 < np.median(known) < 0.7


def test_the_golden_samples_and_the_check_cover_it(exported, familiar_run):
    found = Classifier(exported.path).self_test()
    assert found.max_familiarity_difference is not None
    assert found.max_familiarity_difference < found.familiarity_tolerance
    assert check(exported.path, familiar_run, verify_count=2).proof.stages[-2].stage == "familiarity"


def test_the_run_and_the_card_say_what_it_rejects(exported, familiar_run):
    measured = RunFolder(familiar_run).metrics()["familiarity"]
    assert [found["name"] for found in measured["unknown"]] == ["noise", "blank", "text", "digits", "circle"]
    assert measured["unfamiliar_below"] == 0.05
    assert measured["held_out"] == 48
    own = measured["unknown"][-1]
    assert own["images"] == 80
    assert own["auroc"] == pytest.approx(0.5, abs=0.2), "circles are no unknown images"
    for text in (card_path(exported.path).read_text(), (familiar_run / "report.html").read_text()):
        assert "nknown images" in text
        assert "digits" in text
        assert f"{measured['images']} training images (each judged by a head fitted without it)" in text


def test_another_table_in_the_file_is_found_out(exported, familiar_run):
    model = onnx.load(exported.path)
    (table,) = (tensor for tensor in model.graph.initializer if tensor.name == f"{PREFIX}quantiles")
    table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table) - 1, table.name))
    trained = Trained.load(familiar_run, count=8)
    with pytest.raises(VerificationError, match=r"first at stage 'familiarity': .* of familiarity, allowed 0\.001"):
        verify(trained, model.SerializeToString(), Progress())


def test_outputs_can_leave_it_out(familiar_run, tmp_path):
    options = ExportOptions(outputs=("probabilities", "logits", "embedding"), verify_count=2)
    plain = export(familiar_run, tmp_path / "plain.onnx", options)
    assert spec_document(plain.path)["version"] == 1
    assert not any(tensor.name.startswith(PREFIX) for tensor in onnx.load(plain.path).graph.initializer)
    assert not Classifier(plain.path).has_familiarity
    assert 'no class for "something else"' in card_path(plain.path).read_text()


def test_float16_weights_leave_it_as_it_is_and_it_needs_no_embedding_beside_it(exported, familiar_run, tmp_path):
    options = ExportOptions(outputs=("familiarity",), precision=Precision.FP16, verify_count=4)
    halved = export(familiar_run, tmp_path / "halved.onnx", options)
    assert halved.outputs == ("probabilities", "familiarity") == Classifier(halved.path).outputs
    one, other = (
        [tensor for tensor in onnx.load(path).graph.initializer if tensor.name.startswith(PREFIX)]
        for path in (exported.path, halved.path)
    )
    assert one == other
    assert precision_of(onnx.load(exported.path)) is Precision.FP32, "its bank in float16 is not the network's"


def test_the_network_can_be_replaced_without_it(exported):
    """As int8 replaces it: what tells the familiarity stays in float, behind the network."""
    model = onnx.load(exported.path)
    network = network_part(model)
    assert not any(node.name.startswith(PREFIX) for node in network.graph.node)
    assert with_network(model, network).graph.node[-1].output == ["familiarity"]


def test_a_run_of_few_images_has_none_and_says_so(tiny_run, tmp_path):
    notes = Notes()
    export(tiny_run, tmp_path / "model.onnx", ExportOptions(verify_count=1), progress=notes)
    assert any("No output 'familiarity'" in line for line in notes.lines)
    assert spec_document(tmp_path / "model.onnx")["version"] == 1
    assert "are too few (at least 100 are needed)" in RunFolder(tiny_run).metrics()["familiarity"]["note"]


@pytest.mark.parametrize("weight", [1.0, 8.0])
def test_the_graph_computes_the_formula(weight):
    random = np.random.default_rng(1)
    familiarity = Familiarity(
        bank=unit(random.normal(size=(40, 16))).astype(np.float16),
        neighbours=5,
        similarity=Scale(0.4, 0.1),
        energy=Scale(2.0, 0.5),
        weight=weight,
        quantiles=np.linspace(-5, 2, 101).astype(np.float32),
        images=100,
    )
    graph = helper.make_graph(
        [helper.make_node("Identity", ["e"], ["embedding"]), helper.make_node("Identity", ["l"], ["logits"])],
        "part",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]) for name, width in (("e", 16), ("l", 3))],
        [helper.make_tensor_value_info("familiarity", TensorProto.FLOAT, ["N"])],
    )
    add_familiarity(graph, familiarity)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    embeddings = np.concatenate([random.normal(size=(50, 16)), np.zeros((1, 16))]).astype(np.float32)
    logits = np.concatenate([random.normal(size=(50, 3)), np.full((1, 3), 90)]).astype(np.float32)
    (found,) = session.run(None, {"e": embeddings, "l": logits})
    np.testing.assert_allclose(found, familiarity(embeddings, logits), atol=1e-5)
    assert ((found > 0) & (found < 1)).sum() > 5


def test_a_damaged_familiarity_of_a_run_is_one_clear_line(familiar_run, tmp_path):
    run = RunFolder(familiar_run)
    broken = RunFolder(tmp_path)
    for file in ("config.toml", "spec.json", "metrics.json", "weights.safetensors"):
        (tmp_path / file).write_bytes((familiar_run / file).read_bytes())
    broken.familiarity_file.write_bytes(run.familiarity_file.read_bytes()[:100])
    with pytest.raises(
        RunError, match=r"familiarity\.safetensors: not the familiarity that .*train again with tl-train"
    ):
        broken.familiarity()
