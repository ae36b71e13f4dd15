import pytest
import torch
from torch import nn

from tl_train.models.architectures import find_architecture
from tl_train.models.network import build_network
from tl_train.models.new_head import AppendedHead
from tl_train.run_folder.folder import RunFolder

TINY = find_architecture("timm:test_efficientnet")
HEAD = 256 * 3 + 3
APPENDED = 1000 * 3 + 3


def learning(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def test_b0_gets_a_new_head_in_the_chapters_place():
    model = build_network(find_architecture("efficientnet_b0"), "none", 2).module
    assert model.classifier[1].out_features == 2
    assert model.classifier[0].p == 0.2


def test_b0_keeps_its_head_when_another_is_appended():
    network = build_network(find_architecture("efficientnet_b0"), "none", 2, head="append")
    head = network.module.classifier[1]
    assert isinstance(head, AppendedHead)
    assert [(layer.in_features, layer.out_features) for layer in head] == [(1280, 1000), (1000, 2)]
    assert network.head is head[1]


@pytest.mark.parametrize(("head", "trained"), [("replace", HEAD), ("append", APPENDED)])
def test_the_head_mode_freezes_all_but_the_new_layer(head, trained):
    network = build_network(TINY, "none", 3, head=head)
    model = network.module
    network.prepare_for_training("head")
    place = "classifier" if head == "replace" else "classifier.1"
    assert learning(model) == [f"{place}.weight", f"{place}.bias"]
    assert not model.get_submodule("bn1").training
    assert network.count_parameters()[1] == trained
    network.prepare_for_training("full")
    assert len(learning(model)) == len(list(model.parameters()))
    assert model.get_submodule("bn1").training


def test_gradual_is_first_the_head_then_all_with_the_statistics_frozen():
    network = build_network(TINY, "none", 3)
    model = network.module
    network.prepare_for_training("gradual", phase="head")
    assert learning(model) == ["classifier.weight", "classifier.bias"]
    assert not any(layer.training for layer in model.modules() if isinstance(layer, nn.BatchNorm2d))
    network.prepare_for_training("gradual", phase="all")
    assert len(learning(model)) == len(list(model.parameters()))
    assert model.training
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    assert not any(layer.training for layer in norms)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    weight = norms[0].weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model(torch.randn(4, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    torch.testing.assert_close(dict(model.named_buffers()), before)
    assert not torch.equal(norms[0].weight, weight), "the affine parameters learn"


@pytest.mark.parametrize("head", ["replace", "append"])
def test_a_saved_model_comes_back_whichever_head_it_has(tiny_run, tmp_path, head):
    import shutil

    spec = RunFolder(tiny_run).spec()
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    model = build_network(TINY, "none", len(spec.labels), head=head).module.eval()
    RunFolder(run).save_model(model, spec)
    again, _, architecture = RunFolder(run).load_model()
    picture = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(again(picture), model(picture))
    assert isinstance(again.get_submodule(architecture.head), AppendedHead) is (head == "append")
