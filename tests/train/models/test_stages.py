import math

import pytest
import torch
import torchvision
from torch import nn

from tl_train.errors import ConfigError
from tl_train.models.architectures import find_architecture
from tl_train.models.stages import Stages

SIZE = (64, 64)


def vision_transformer() -> nn.Module:
    return torchvision.models.VisionTransformer(
        image_size=64, patch_size=16, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5
    )


def timm_model(name: str, **options) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False, num_classes=5, **options)


NETWORKS = {
    "timm efficientnet": lambda: timm_model("test_efficientnet"),
    "timm resnet": lambda: timm_model("test_resnet"),
    "timm convnext": lambda: timm_model("test_convnext"),
    "timm vit": lambda: timm_model("test_vit", img_size=64),
    "timm vit, pooled by attention": lambda: timm_model("test_vit3", img_size=64),
    "torchvision mobilenet": lambda: torchvision.models.mobilenet_v3_small(num_classes=5),
    "torchvision resnet": lambda: torchvision.models.resnet18(num_classes=5),
    "torchvision convnext": lambda: torchvision.models.ConvNeXt(
        [torchvision.models.convnext.CNBlockConfig(8, 16, 2), torchvision.models.convnext.CNBlockConfig(16, None, 3)],
        num_classes=5,
    ),
    "torchvision vit": vision_transformer,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_one_part_after_the_other_is_the_network(name):
    torch.manual_seed(0)
    model = NETWORKS[name]()
    stages = Stages(model, SIZE, name)
    shares = [cut.share for cut in stages.cuts]
    assert shares == sorted(shares, reverse=True)
    images = torch.randn(3, 3, *SIZE)
    model.eval()
    for cut in {stages.cuts[0], stages.choose(), stages.cuts[-1]}:
        trunk, rest = stages.split(cut)
        with torch.inference_mode():
            activation = trunk(images)
            assert activation.shape == (3, *cut.shape)
            assert math.prod(cut.shape) == cut.values
            torch.testing.assert_close(rest(activation), model(images))
        parts = [{name for name, _ in part.named_parameters()} for part in (trunk, rest)]
        assert not parts[0] & parts[1]
        assert parts[0] | parts[1] == {name for name, _ in model.named_parameters()}


def test_lite0_is_cut_behind_its_fifth_stage():
    architecture = find_architecture("efficientnet_lite0")
    stages = Stages(architecture.build(), (224, 224), architecture.name)
    cut = stages.choose()
    assert (cut.name, cut.shape) == ("blocks.4", (112, 14, 14))
    assert cut.share == pytest.approx(0.368, abs=0.001)
    assert stages.multiplications == pytest.approx(385e6, rel=0.01)  # published: 407 M with its 1000 classes' head
    assert stages.named("blocks.4.2") == cut
    assert stages.choose(0.13).name == "blocks.5"


def test_residual_blocks_stay_whole():
    names = [cut.name for cut in Stages(torchvision.models.mobilenet_v3_small(), SIZE, "mobilenet").cuts]
    assert names == [f"features.{number}" for number in range(1, 12)] + ["features"]
    names = [cut.name for cut in Stages(timm_model("test_resnet"), SIZE, "resnet").cuts]
    assert names == ["conv1", "layer1", "layer2", "layer3", "layer4"]


def test_blocks_are_cut_between_where_whole_stages_are_too_coarse():
    model = timm_model("resnet50")
    assert Stages(model, SIZE, "resnet50").choose().name == "layer3.2"


def test_training_the_rest_trains_the_network_and_modes_stay():
    model = timm_model("test_efficientnet")
    model.train()
    model.get_submodule("bn1").eval()
    stages = Stages(model, SIZE, "test")
    cut = stages.choose()
    _, rest = stages.split(cut)
    assert model.training
    assert not model.get_submodule("bn1").training
    assert model.get_submodule("bn2").training
    rest.eval()
    assert not model.get_submodule("bn2").training
    before = model.get_submodule("classifier").weight.detach().clone()
    optimizer = torch.optim.SGD(rest.parameters(), lr=1.0)
    rest(torch.randn(2, *cut.shape)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(model.get_submodule("classifier").weight, before)
    assert model.get_submodule("conv_stem").weight.grad is None


def test_an_unknown_stage_lists_those_there_are():
    stages = Stages(timm_model("test_resnet"), SIZE, "test_resnet")
    expected = r"freeze_until: found 'blocks.9', expected a stage of test_resnet: conv1, layer1, layer2, layer3, layer4"
    with pytest.raises(ConfigError, match=expected):
        stages.named("blocks.9")


class Skipping(nn.Module):
    """Its input is used again at the very end."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)) for _ in range(3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.body(x) + x).mean(dim=(2, 3))


class Deciding(Skipping):
    """Looks at the values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).mean(dim=(2, 3)) if x.sum() > 0 else x.mean(dim=(2, 3))


class Counting(Skipping):
    """Answers otherwise each time."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.body(x).mean(dim=(2, 3)) * self.calls


class Sharing(Skipping):
    """One layer stands at both ends."""

    def __init__(self) -> None:
        super().__init__()
        self.body[2][1] = self.body[0][0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).mean(dim=(2, 3))


def split_in_two(network):
    stages = Stages(network, SIZE, "odd")
    stages.split(stages.choose())


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Skipping, "it has no stages in a row"),
        (Deciding, "symbolically traced variables cannot be used as inputs to control flow"),
        (Counting, r"the stages one after the other compute something else \(cut after body.[01]\)"),
        (Sharing, r"parameters are used on both sides of body.[01]"),
    ],
)
def test_what_cannot_be_cut_is_told_in_a_line(network, reason):
    with pytest.raises(ConfigError, match=f"mode partial: odd cannot be cut between stages: {reason}") as told:
        split_in_two(network())
    assert str(told.value).endswith("use mode gradual")
    assert "\n" not in str(told.value)
