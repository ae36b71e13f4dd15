import pytest
import safetensors.torch
import torch

from tl_train.errors import ConfigError, WeightsError
from tl_train.models import (
    build_model,
    count_parameters,
    find_architecture,
    prepare_for_training,
    read_weights,
)

TINY = find_architecture("timm:test_efficientnet")


def test_lite0_is_really_pretrained():
    architecture = find_architecture("efficientnet_lite0")
    weights = architecture.pretrained()
    assert len(weights) == 296
    model = architecture.build()
    model.load_state_dict(dict(weights))  # every name, every shape, the 1000-class head too
    # Trained batch-norm statistics are nothing like the 0 and 1 that random weights start with.
    assert float(weights["bn1.running_var"].std()) > 0.1
    ours = build_model(architecture, "default", 2)
    torch.testing.assert_close(ours.state_dict()["conv_stem.weight"], weights["conv_stem.weight"])
    assert ours.state_dict()["classifier.weight"].shape == (2, 1280)


def test_b0_gets_a_new_head_in_the_chapters_place():
    model = build_model(find_architecture("efficientnet_b0"), "none", 2)
    assert model.classifier[1].out_features == 2
    assert model.classifier[0].p == 0.2


@pytest.mark.parametrize("name", ["efficientnet_bo", "lite0", "timm:resnet81"])
def test_an_unknown_architecture_gets_the_nearest_names(name):
    with pytest.raises(ConfigError, match=f"unknown architecture '{name}'; the nearest are .*(efficientnet|resnet)"):
        find_architecture(name)


def test_the_head_mode_freezes_all_but_the_head():
    model = build_model(TINY, "none", 3)
    prepare_for_training(model, TINY, "head")
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert learning == ["classifier.weight", "classifier.bias"]
    assert not model.get_submodule("bn1").training
    assert count_parameters(model)[1] == 256 * 3 + 3
    prepare_for_training(model, TINY, "full")
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.get_submodule("bn1").training


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file_are_the_backbones(tmp_path, suffix):
    source = TINY.build()
    path = tmp_path / f"w{suffix}"
    tensors = {name: tensor.contiguous() for name, tensor in source.state_dict().items()}
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        safetensors.torch.save_file(tensors, path)
    model = build_model(TINY, str(path), 3)
    torch.testing.assert_close(model.state_dict()["conv_stem.weight"], tensors["conv_stem.weight"])


def test_weights_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "w.pth"
    tensors = dict(TINY.build().state_dict())
    for changed, message in [
        ({**tensors, "conv_stem.weight": torch.zeros(1, 2)}, r"conv_stem.weight has shape \(1, 2\), expected \(24, 3"),
        ({k: v for k, v in tensors.items() if k != "bn1.bias"}, r"1 tensor\(s\) are missing, the first is bn1.bias"),
        ({**tensors, "extra.weight": torch.zeros(1)}, r"1 tensor\(s\) are unknown, the first is extra.weight"),
    ]:
        torch.save(changed, path)
        with pytest.raises(WeightsError, match=message):
            build_model(TINY, str(path), 3)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("executed",))


def test_nothing_in_a_weights_file_is_executed(tmp_path, capsys):
    path = tmp_path / "w.pth"
    torch.save({"a": Evil()}, path)
    with pytest.raises(WeightsError, match=r"w.pth: cannot be read as weights"):
        read_weights(path)
    assert "executed" not in capsys.readouterr().out


def test_files_that_are_no_weights_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"absent.pth: no such file"):
        read_weights(tmp_path / "absent.pth")
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(b"garbage")
        with pytest.raises(WeightsError, match="cannot be read as weights"):
            read_weights(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        read_weights(tmp_path / "list.pth")
