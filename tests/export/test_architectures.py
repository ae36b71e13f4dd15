"""Held to architectures: each is exported with random weights and proven; all of them with TL_ALL_ARCHITECTURES=1."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tl_export.graph.assemble import assemble
from tl_export.graph.taps import TappedNetwork, chosen_outputs
from tl_export.options import ALL_OUTPUTS
from tl_export.proof.routes import TorchRoute
from tl_export.proof.trained import Trained
from tl_export.proof.verify import verify
from tl_infer.images import load_image
from tl_infer.model.contract import HEATMAP, LOGITS, PROBABILITIES, ModelSpec, PreprocessSpec
from tl_train.models.architectures import find_architecture
from tl_train.models.new_head import put_new_head
from tl_train.models.trace import trace
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder

# Name, side of the input (None: its own), and whether it has a heatmap.
FAST = [("timm:resnet18", 64, True), ("timm:mobilenetv3_small_050", 64, False)]
SLOW = [
    ("efficientnet_lite0", None, True),
    ("efficientnet_b0", None, True),
    ("efficientnet_b3", None, True),
    ("efficientnet_v2_s", None, True),
    ("timm:resnet18", None, True),
    ("timm:mobilenetv3_small_050", None, False),
    ("timm:convnext_atto", None, False),
    ("timm:regnetx_002", None, True),
    ("timm:ghostnet_100", None, False),
    ("timm:swin_tiny_patch4_window7_224", None, True),
]
CASES = [*FAST, *(SLOW if os.environ.get("TL_ALL_ARCHITECTURES") else [])]


def random_network(name: str, side: int | None, head: str, photos: list[Path]) -> tuple[nn.Module, ModelSpec]:
    """Random weights, with batch statistics of the pictures that it will see.

    With statistics of anything else, values grow from layer to layer until float32 itself gives other answers than
    float64 (a fifth of the largest embedding, for B3 with those of noise), and there is nothing to compare.
    """
    architecture = find_architecture(name)
    torch.manual_seed(0)
    model = architecture.build()
    put_new_head(model, architecture, 3, head)
    size = (side or architecture.size,) * 2
    preprocess = PreprocessSpec(size=size, mean=architecture.mean, std=architecture.std)
    preprocessor = Preprocessor(preprocess)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.momentum = None  # a plain mean over the batches
    model.train()
    with torch.no_grad():
        model(torch.from_numpy(np.stack([preprocessor(load_image(photo)) for photo in photos[:4]])))
    spec = ModelSpec(labels=("a", "b", "c"), preprocess=preprocess, architecture=architecture.name, weights="none")
    return model.eval(), spec


@pytest.mark.parametrize(("name", "side", "heatmap"), CASES)
def test_exports_and_verifies(name, side, heatmap, photos):
    model, spec = random_network(name, side, "append" if name == "timm:resnet18" and side else "replace", photos)
    route = TorchRoute(model, spec, find_architecture(name))
    outputs = chosen_outputs(ALL_OUTPUTS, route.taps)
    assert (HEATMAP in outputs) == heatmap
    network = trace(TappedNetwork(model, route.taps, outputs), spec.preprocess.size, (LOGITS, *outputs[1:]))
    file = assemble(network, spec, (PROBABILITIES, *outputs)).SerializeToString()
    proof = verify(Trained(RunFolder(Path("run")), route, photos[:2]), file, Progress())
    assert proof.top1_agreement == 1
    assert [stage.stage for stage in proof.stages if stage.stage == HEATMAP] == [HEATMAP] * heatmap


def test_an_output_less_changes_nothing_else(photos):
    model, spec = random_network("timm:resnet18", 64, "replace", photos)
    route = TorchRoute(model, dataclasses.replace(spec, temperature=2.0), find_architecture("timm:resnet18"))
    network = trace(TappedNetwork(model, route.taps, (LOGITS,)), (64, 64), (LOGITS,))
    file = assemble(network, route.spec, (PROBABILITIES, LOGITS))
    proof = verify(Trained(RunFolder(Path("run")), route, photos[:1]), file.SerializeToString(), Progress())
    assert [result.stage for result in proof.stages] == ["decode", "tensor", "logits", "probabilities", "label"]
