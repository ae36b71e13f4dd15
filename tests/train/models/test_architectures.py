import subprocess
import sys

import pytest
import timm
import torch
from torch import nn

from tl_train.errors import ConfigError
from tl_train.models.architectures import ARCHITECTURES, HALVES, find_architecture
from tl_train.models.listing import architecture_lines

LITE = [f"efficientnet_lite{number}" for number in range(3)]
TORCHVISION = [name for name in ARCHITECTURES if name not in LITE]


def test_the_table_is_complete():
    expected = [f"efficientnet_b{i}" for i in range(8)] + [f"efficientnet_v2_{size}" for size in "sml"]
    assert list(ARCHITECTURES) == [*LITE, *expected]


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_says_the_same_of_its_weights(name):
    from torchvision.models import get_model_weights, get_weight

    architecture = ARCHITECTURES[name]
    weights = get_weight(architecture.source.removeprefix("torchvision "))
    assert weights is get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    assert transforms.crop_size == [architecture.size]
    assert tuple(transforms.mean) == architecture.mean
    assert tuple(transforms.std) == architecture.std
    assert weights.meta["num_params"] == architecture.parameters


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_is_built_as_the_table_says(name):
    architecture = ARCHITECTURES[name]
    with torch.device("meta"):
        model = architecture.build().eval()
        logits = model(torch.empty(1, 3, architecture.size, architecture.size))
    assert logits.shape == (1, 1000)
    head = model.get_submodule(architecture.head)
    assert isinstance(head, nn.Linear)
    assert head.out_features == 1000
    assert list(model.state_dict())[-2:] == [f"{architecture.head}.weight", f"{architecture.head}.bias"]
    assert sum(parameter.numel() for parameter in model.parameters()) == architecture.parameters


def test_a_licence_that_the_publisher_does_not_state_is_none():
    assert timm.get_pretrained_cfg("res2net50_26w_4s.in1k").license == "unknown"
    assert find_architecture("timm:res2net50_26w_4s.in1k").licence == ""
    assert find_architecture("timm:test_efficientnet").licence == "apache-2.0"


def test_the_largest_v2_has_a_normalisation_of_its_own():
    assert ARCHITECTURES["efficientnet_v2_l"].mean == ARCHITECTURES["efficientnet_v2_l"].std == HALVES


@pytest.mark.parametrize(
    ("name", "head", "size"),
    [
        ("timm:resnet10t", "fc", 176),
        ("timm:mobilenetv3_small_050", "classifier", 224),
        ("timm:convnext_atto", "head.fc", 224),
        ("timm:resnet50.a1_in1k", "fc", 224),
        ("timm:vit_tiny_patch16_224", "head", 224),
    ],
)
def test_timm_models_bring_their_own_head_and_size(name, head, size):
    architecture = find_architecture(name)
    assert (architecture.name, architecture.head, architecture.size) == (name, head, size)
    with torch.device("meta"):
        model = architecture.build()
    assert sum(parameter.numel() for parameter in model.parameters()) == architecture.parameters


def test_a_timm_model_without_a_pretrained_head_can_get_one():
    architecture = find_architecture("timm:vit_small_patch16_dinov3")
    with torch.device("meta"):
        assert isinstance(architecture.build().get_submodule(architecture.head), nn.Linear)


@pytest.mark.parametrize("name", ["timm:deit_tiny_distilled_patch16_224", "timm:resnetv2_50"])
def test_a_head_that_is_not_one_linear_layer_is_refused(name):
    with pytest.raises(ConfigError, match=f"'{name}' has no single linear layer as its head"):
        find_architecture(name)


@pytest.mark.parametrize("name", ["efficientnet_bo", "lite0", "timm:resnet81", "timm:resnet50.bogus"])
def test_an_unknown_architecture_gets_the_nearest_names(name):
    with pytest.raises(ConfigError, match=f"unknown architecture '{name}'; the nearest are .*(efficientnet|resnet)"):
        find_architecture(name)


def test_a_network_that_takes_any_size_stays_as_it_is():
    architecture = find_architecture("efficientnet_b0")
    assert architecture.for_size((64, 128)) is architecture


@pytest.mark.parametrize(
    ("name", "size"), [("timm:vit_tiny_patch16_224", (224, 256)), ("timm:vit_small_patch14_dinov2", (224, 224))]
)
def test_a_network_with_positions_is_built_for_its_size(name, size):
    with torch.device("meta"):
        model = find_architecture(name).for_size(size).build().eval()
        assert model(torch.empty(2, 3, *size)).shape == (2, 1000)


def test_a_size_that_a_network_cannot_be_built_for_is_refused():
    nest = find_architecture("timm:nest_tiny")
    with pytest.raises(
        ConfigError,
        match=r"size: found 224x256, expected 224 or another that timm:nest_tiny can be built for \(Model only handles",
    ):
        nest.for_size((224, 256))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_the_listing_is_an_aligned_table():
    lines = list(architecture_lines(""))
    assert len(lines) == 1 + len(ARCHITECTURES)
    assert lines[0].split() == ["name", "parameters", "size", "licence", "weights"]
    for column in ("licence", "weights"):
        at = lines[0].index(column)
        assert all(line[at - 1] == " " and line[at] != " " for line in lines)
    (b3,) = [line for line in lines if line.startswith("efficientnet_b3 ")]
    assert b3.split() == [
        "efficientnet_b3", "12,233,232", "300", "BSD-3-Clause", "torchvision", "EfficientNet_B3_Weights.IMAGENET1K_V1",
    ]  # fmt: skip


def test_a_filter_shows_timms_models_too_and_keeps_what_it_counted(cache):
    names = [line.split()[0] for line in architecture_lines("efficientnet_b0")]
    assert names[:2] == ["name", "efficientnet_b0"]
    assert "timm:tf_efficientnet_b0" in names
    (kept,) = cache.iterdir()
    assert '"tf_efficientnet_b0": 5288548' in kept.read_text()
    kept.write_text(kept.read_text().replace("5288548", "77"))
    assert any(
        line.split()[:2] == ["timm:tf_efficientnet_b0", "77"] for line in architecture_lines("tf_EfficientNet_b0")
    )
    kept.write_text("damaged")
    (line,) = list(architecture_lines("timm:resnet10[t]"))[1:]
    assert line.split() == ["timm:resnet10t", "5,435,488", "176", "apache-2.0", "huggingface.co/timm/resnet10t.c3_in1k"]


def test_models_that_cannot_be_fine_tuned_are_not_listed(cache):
    assert [line.split()[0] for line in architecture_lines("timm:resnetv2_50")] == ["name"]
    with pytest.raises(ConfigError, match="no architecture has 'rasnet' in its name"):
        list(architecture_lines("rasnet"))


def test_the_table_needs_no_torch():
    code = (
        "import sys; from tl_train.models.listing import architecture_lines; list(architecture_lines('')); "
        "sys.exit(bool({'torch', 'torchvision', 'timm'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_listing_from_the_shell_asks_for_nothing_else():
    command = [sys.executable, "-c", "from tl_train.cli import main; main()", "--list-archs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1 + len(ARCHITECTURES)
    assert "models more, as timm:NAME" in done.stderr
