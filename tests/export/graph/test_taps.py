import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tl_export import ExportOptions, export
from tl_export.graph.taps import TappedNetwork, Taps, find_taps, head_map
from tl_export.options import OPTIONAL_OUTPUTS
from tl_infer import Classifier
from tl_infer.images import load_image
from tl_infer.model.contract import PROBABILITIES
from tl_infer.model.session import Session
from tl_train.errors import TracingError
from tl_train.models.architectures import find_architecture
from tl_train.models.new_head import put_new_head
from tl_train.models.trace import trace
from tl_train.run_folder.folder import RunFolder


def network(name: str, head: str = "replace"):
    architecture = find_architecture(name)
    torch.manual_seed(0)
    model = architecture.build()
    put_new_head(model, architecture, 3, head)
    return model.eval(), architecture


@pytest.mark.parametrize(
    ("name", "side", "found"),
    [
        ("efficientnet_lite0", 64, True),
        ("efficientnet_b0", 64, True),
        ("timm:resnet18", 64, True),
        ("timm:regnetx_002", 64, True),
        ("timm:test_efficientnet", 64, True),
        ("timm:test_efficientnet", 32, False),  # the last map is one position
        ("timm:mobilenetv3_small_050", 64, False),  # a convolution and an activation after the pooling
        ("timm:convnext_atto", 64, False),  # a normalisation after the pooling
        ("timm:test_vit", 160, False),
    ],
)
@pytest.mark.parametrize("head", ["replace", "append"])
def test_a_heatmap_where_pooling_and_linear_layers_allow_it(name, side, found, head):
    model, architecture = network(name, head)
    taps = find_taps(model, architecture, (side, side))
    assert (taps.feature_map is not None) == found
    assert bool(taps.reason) != found
    outputs = ("logits", "embedding", "heatmap") if found else ("logits", "embedding")
    pictures = torch.rand(2, 3, side, side)
    with torch.inference_mode():
        logits, embedding, *heatmaps = TappedNetwork(model, taps, outputs)(pictures)
        torch.testing.assert_close(logits, model(pictures))
        head_layer = model.get_submodule(architecture.head)
        torch.testing.assert_close(head_layer(embedding), logits)
    for heatmap in heatmaps:
        assert heatmap.shape[:2] == (2, 3)
        torch.testing.assert_close(heatmap.mean(dim=(2, 3)), logits, atol=1e-4, rtol=1e-4)


def test_two_linear_layers_compose():
    model, architecture = network("timm:test_efficientnet", "append")
    head = model.get_submodule(architecture.head)
    weight, bias = head_map(head)
    features = torch.randn(5, weight.shape[1])
    torch.testing.assert_close(features @ weight.T + bias, head(features), atol=1e-5, rtol=1e-4)


def test_max_pooling_is_not_taken_for_averaging():
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2d(3, 8, 3)
            self.head = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.features(x).amax(dim=(2, 3)))

    import dataclasses

    architecture = dataclasses.replace(find_architecture("efficientnet_b0"), head="head")
    assert find_taps(Network().eval(), architecture, (16, 16)).feature_map is None


def test_the_file_gives_the_heatmap_of_pytorch(tiny_run, tiny_model):
    """Computed here from the layers by their names, sharing nothing with the exporter."""
    model, spec, _ = RunFolder(tiny_run).load_model()
    session = Session.from_bytes(tiny_model.read_bytes(), "model")
    from tl_train.preprocess.graph import Preprocessor

    pixels = load_image(RunFolder(tiny_run).held_out_files()[0])
    embedding, heatmap, logits = session.run(pixels[None], ["embedding", "heatmap", "logits"])
    with torch.inference_mode():
        features = model.forward_features(torch.from_numpy(Preprocessor(spec.preprocess)(pixels))[None])
        kernel = model.classifier.weight[:, :, None, None]
        expected = nn.functional.conv2d(features, kernel, model.classifier.bias)
    np.testing.assert_allclose(heatmap, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(embedding, features.mean(dim=(2, 3)).numpy(), atol=1e-5)
    np.testing.assert_allclose(heatmap.mean(axis=(2, 3)), logits, atol=1e-5)


def test_outputs_can_be_left_out(tiny_run, tmp_path):
    result = export(tiny_run, tmp_path / "small.onnx", ExportOptions(outputs=["embedding"]))
    assert result.outputs == ("probabilities", "embedding")
    graph = onnx.load(result.path).graph
    assert [output.name for output in graph.output] == ["probabilities", "embedding"]
    assert Classifier(result.path).classify(RunFolder(tiny_run).held_out_files()[0]).label
    assert [stage.stage for stage in result.proof.stages if stage.stage != "embedding"] == [
        "decode", "tensor", "logits", "probabilities", "label",
    ]  # fmt: skip


def test_all_outputs_are_declared_with_their_shapes(tiny_model, tiny_run):
    graph = onnx.load(tiny_model).graph
    shapes = {
        output.name: [dim.dim_value or dim.dim_param for dim in output.type.tensor_type.shape.dim]
        for output in graph.output
    }
    width = RunFolder(tiny_run).load_model()[0].classifier.in_features
    assert tuple(shapes) == (PROBABILITIES, *OPTIONAL_OUTPUTS)
    assert shapes["embedding"] == ["N", width]
    assert shapes["heatmap"] == ["N", 3, 2, 2]
    assert all(output.doc_string for output in graph.output)
    assert graph.doc_string


def test_nodes_are_named_by_layer_and_nothing_tells_of_this_machine(tiny_model, tiny_run):
    model = onnx.load(tiny_model)
    layers = {name for name, _ in RunFolder(tiny_run).load_model()[0].named_modules()}
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    # The shapes of the heatmap, which is of no layer, are one node or several, as torch would have it.
    computing = [node for node in model.graph.node if node.op_type not in {"Shape", "Concat", "Reshape"}]
    of_network = [node for node in computing if not node.name.startswith("preprocess/")]
    elsewhere = [node for node in of_network if node.name.rpartition("/")[0] not in layers]
    assert len(elsewhere) < 0.1 * len(of_network)
    assert not {node.op_type for node in elsewhere} & {"Conv", "Gemm", "Sigmoid"}
    assert not [name for name in names if name.startswith("_empty")]
    assert not [node.name for node in model.graph.node if node.metadata_props or node.doc_string]
    for trace_of_machine in (b"site-packages", b"/home", b"/tmp", b"tl_export"):
        assert trace_of_machine not in tiny_model.read_bytes()


def test_a_layer_that_onnx_cannot_express_is_named():
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3)
            self.body = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(4, 4, 1), Odd()))
            self.head = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(self.stem(x)).mean(dim=(2, 3)))

    with pytest.raises(TracingError, match=r"cannot be exported to ONNX: layer 'body.1.1' \(Odd\): "):
        trace(Network(), (32, 32))
    tapped = TappedNetwork(Network(), Taps("head"), ("logits",))
    with pytest.raises(TracingError, match=r"cannot be exported to ONNX: layer 'body.1.1' \(Odd\): "):
        trace(tapped, (32, 32))
