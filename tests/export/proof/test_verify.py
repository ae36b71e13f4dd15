import copy
import dataclasses

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from tl_export import VerificationError
from tl_export.graph.assemble import assemble, set_spec
from tl_export.graph.network_part import copy_of
from tl_export.graph.taps import TappedNetwork, find_taps
from tl_export.options import OPTIONAL_OUTPUTS, Precision
from tl_export.proof.faults import with_swapped_channels, without_antialias
from tl_export.proof.precision import RULES
from tl_export.proof.routes import TorchRoute
from tl_export.proof.stages import STAGES, TOLERANCES
from tl_export.proof.trained import Trained
from tl_export.proof.verify import verify
from tl_export.run_pictures import evenly
from tl_export.summary import proof_lines
from tl_infer.model.contract import FAMILIARITY
from tl_train.models.trace import trace
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder

# A run of few images has nothing that tells what is unfamiliar.
_STAGES = [stage for stage in STAGES if stage != FAMILIARITY]


def prove(run, file: onnx.ModelProto, pictures=None, **options):
    folder = RunFolder(run)
    trained = Trained(folder, TorchRoute(*folder.load_model()), pictures or folder.held_out_files())
    return verify(trained, file.SerializeToString(), Progress(), **options)


def changed(file: onnx.ModelProto, name: str, change) -> onnx.ModelProto:
    """The file with one constant replaced."""
    (tensor,) = [tensor for tensor in file.graph.initializer if tensor.name == name]
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))
    return file


def test_every_stage_of_a_good_file_is_measured(tiny_run, assembled, photos):
    for pictures in (RunFolder(tiny_run).held_out_files(), photos[:6]):
        proof = prove(tiny_run, assembled(), pictures)
        assert [result.stage for result in proof.stages] == list(_STAGES)
        assert all(0 <= result.mean <= result.largest <= result.tolerance for result in proof.stages)
        assert [check.name for check in proof.checks] == ["batch", "unoptimized"]
        assert all(check.passed and check.pictures == len(pictures) for check in proof.checks)
        assert proof.top1_agreement == 1
        assert proof.independent.pictures == len(pictures)
        assert proof.independent.gray_levels <= 1.01
        summary = proof.summary()
        assert summary.stages.keys() == summary.tolerances.keys() == set(_STAGES)
        table = "\n".join(proof_lines(proof))
        assert all(stage in table for stage in _STAGES)


def test_a_graph_that_mixes_images_shows_with_one_image(tiny_run, assembled):
    file = assembled()
    (place,) = [place for place, node in enumerate(file.graph.node) if node.name == "calibrate"]
    file.graph.node[place].input[0] = "mixed"
    # The logits themselves, of an image alone.
    file.graph.node.insert(place, helper.make_node("Mean", ["logits", "of all"], ["mixed"]))
    file.graph.node.insert(place, helper.make_node("ReduceMean", ["logits", "axis 0"], ["of all"], keepdims=1))
    file.graph.initializer.append(numpy_helper.from_array(np.array([0]), "axis 0"))
    with pytest.raises(VerificationError, match="inconsistent results: check 'batch' differs by"):
        prove(tiny_run, file, RunFolder(tiny_run).held_out_files()[:1])


def test_a_wrong_mean_shows_in_the_tensor(tiny_run, assembled, traced):
    spec = traced[1]
    wrong = dataclasses.replace(spec.preprocess, mean=(0.48, 0.46, 0.41))
    with pytest.raises(VerificationError, match=r"first at stage 'tensor': .*png: 0.0"):
        prove(tiny_run, assembled(dataclasses.replace(spec, preprocess=wrong)))


def test_swapped_channels_show_in_the_tensor(tiny_run, assembled):
    with pytest.raises(VerificationError, match="first at stage 'tensor'"):
        prove(tiny_run, with_swapped_channels(assembled()))


def test_a_resize_without_antialias_shows_in_the_tensor(tiny_run, assembled, photos):
    with pytest.raises(VerificationError, match=r"first at stage 'tensor'.* of the normalised value, allowed 1e-05"):
        prove(tiny_run, without_antialias(assembled()), photos[:4])


def test_a_dropped_batch_norm_shows_in_the_embedding_or_the_logits(tiny_run):
    model, spec, architecture = RunFolder(tiny_run).load_model()
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    dropped = copy.deepcopy(model)
    norm = [layer for layer in dropped.modules() if isinstance(layer, nn.BatchNorm2d)][len(norms) // 2]
    norm.reset_running_stats()
    norm.reset_parameters()
    taps = find_taps(dropped, architecture, spec.preprocess.size)
    network = trace(TappedNetwork(dropped, taps, OPTIONAL_OUTPUTS), spec.preprocess.size, OPTIONAL_OUTPUTS)
    for outputs, stage in ((("probabilities", "embedding"), "embedding"), (("probabilities",), "logits")):
        with pytest.raises(VerificationError, match=f"first at stage '{stage}'"):
            prove(tiny_run, assemble(copy_of(network), spec, outputs))


def test_another_head_shows_in_the_logits(tiny_run, assembled):
    with pytest.raises(VerificationError, match=r"first at stage 'logits'.* of the largest value or 1, allowed 0.0001"):
        prove(tiny_run, changed(assembled(), "classifier.bias", lambda bias: bias + np.float32(0.5)))


def test_a_shifted_heatmap_shows_in_the_heatmap(tiny_run, assembled):
    file = assembled()
    (node,) = [node for node in file.graph.node if "heatmap" in node.output]
    (add,) = [other for other in file.graph.node if node.input[0] in other.output]
    (bias,) = [name for name in add.input if name in {tensor.name for tensor in file.graph.initializer}]
    with pytest.raises(VerificationError, match="first at stage 'heatmap'"):
        prove(tiny_run, changed(file, bias, lambda values: values + np.float32(0.1)))


def test_another_temperature_shows_in_the_probabilities(tiny_run, assembled, traced):
    with pytest.raises(VerificationError, match="first at stage 'probabilities'"):
        prove(tiny_run, assembled(dataclasses.replace(traced[1], temperature=3.0)))


def test_permuted_labels_show_in_the_label(tiny_run, assembled, traced):
    spec = traced[1]
    permuted = dataclasses.replace(spec, labels=(*spec.labels[1:], spec.labels[0]))
    with pytest.raises(VerificationError, match="first at stage 'label'"):
        prove(tiny_run, assembled(permuted))
    file = assembled()
    picture = RunFolder(tiny_run).held_out_files()[0]
    (answer,) = TorchRoute(*RunFolder(tiny_run).load_model())(picture).labels
    renamed = tuple(label if label == answer else f"not {label}" for label in spec.labels)
    set_spec(file, dataclasses.replace(spec, labels=renamed))
    with pytest.raises(VerificationError, match=r"stage 'label': the file's labels are .*'not "):
        prove(tiny_run, file, [picture])


def test_a_network_that_changed_after_the_export_is_refused(tiny_run, assembled):
    model, spec, architecture = RunFolder(tiny_run).load_model()
    head = model.get_submodule(architecture.head)
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.bias[0] += 0.5
    trained = Trained(RunFolder(tiny_run), TorchRoute(model, spec, architecture), RunFolder(tiny_run).held_out_files())
    with pytest.raises(VerificationError, match="first at stage 'logits'"):
        verify(trained, assembled().SerializeToString(), Progress())


def test_tolerances_can_be_given_and_nothing_to_compare_is_no_proof(tiny_run, assembled, trained_on):
    with pytest.raises(VerificationError, match="there are no images to verify on"):
        verify(trained_on(tiny_run, []), assembled().SerializeToString(), Progress())
    with pytest.raises(VerificationError, match=r"stage 'embedding'.*allowed 0 "):
        prove(
            tiny_run,
            assembled(),
            rule=dataclasses.replace(RULES[Precision.FP32], tolerances={**TOLERANCES, "embedding": 0.0}),
        )


def test_evenly_takes_the_first_the_last_and_some_between():
    numbers = list(range(100))
    assert evenly(numbers, 3) == [0, 50, 99]
    assert evenly(numbers, 1) == [0]
    assert evenly(numbers, 100) == evenly(numbers, 500) == evenly(numbers, None) == numbers
