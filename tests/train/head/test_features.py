import dataclasses

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from tl_infer.model.contract import PreprocessSpec
from tl_train.config import TrainConfig
from tl_train.data.dataset import load_dataset
from tl_train.head.features import CachedPart, backbone_features, fit_head
from tl_train.head.fit_head import fit_frozen
from tl_train.models.network import build_model, find_architecture
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress
from tl_train.training.checkpoints import Identity
from tl_train.training.epochs import fit
from tl_train.training.loop import predict


def setup(shapes, arch="timm:test_efficientnet", **fields):
    config = TrainConfig(
        data=str(shapes), arch=arch, weights="none", size=32, mode="head", epochs=3, val_split=0.2, **fields
    )
    architecture = find_architecture(arch)
    torch.manual_seed(1)
    model = build_model(architecture, "none", 3)
    spec = PreprocessSpec(size=(32, 32), mean=architecture.mean, std=architecture.std)
    return config, architecture, model, Preprocessor(spec), load_dataset(config, Progress())


@pytest.mark.parametrize("arch", ["timm:test_efficientnet", "timm:test_vit", "efficientnet_b0"])
def test_the_head_on_the_features_is_the_network(shapes, arch):
    _, architecture, model, preprocessor, dataset = setup(shapes, arch)
    samples = dataset.test
    features = backbone_features(model, architecture, samples, preprocessor, Progress())
    assert features.dtype == np.float32
    head = model.get_submodule(architecture.head)
    assert features.shape == (len(samples), head.in_features)
    with torch.inference_mode():
        logits = head(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(logits, predict(model, samples, preprocessor), atol=1e-5)
    assert not head._forward_pre_hooks


def test_cached_features_train_the_same_head_as_the_loop(shapes, tmp_path):
    results = []
    for fitted in (fit_frozen, fit):
        config, architecture, model, preprocessor, dataset = setup(shapes)
        if fitted is fit:
            fabric = Fabric(accelerator="cpu", devices=1)
            identity = Identity(config, "", {}, 1)
            history = fit(fabric, model, architecture, dataset, preprocessor, identity, tmp_path, Progress()).history
        else:
            history = fit_frozen(model, architecture, dataset, preprocessor, config, None, Progress()).history
        results.append((history, model.state_dict()))
    (cached, ours), (recomputed, theirs) = results
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-5, rtol=1e-4)
    for row, other in zip(cached, recomputed, strict=True):
        assert dataclasses.astuple(row)[:5] == pytest.approx(dataclasses.astuple(other)[:5], rel=1e-4)


def test_a_head_may_be_trained_without_validation_pictures():
    part = CachedPart(np.eye(6, dtype=np.float32), np.array([0, 1] * 3))
    config = TrainConfig(data="digits", epochs=20, batch_size=2, lr=0.1)
    head = torch.nn.Linear(6, 2)
    history = fit_head(head, part, None, config, Progress())
    assert len(history) == 20
    assert history[-1].val_loss is None
    assert history[-1].train_accuracy == 1.0


def test_labels_and_features_belong_together():
    with pytest.raises(ValueError, match=r"found features \(2, 3\) and labels \(3,\)"):
        CachedPart(np.zeros((2, 3), np.float32), np.zeros(3, np.int64))


def test_the_penalised_fit_replaces_the_steps(shapes):
    config, architecture, model, preprocessor, dataset = setup(shapes, head_fit="penalised")
    found = fit_frozen(model, architecture, dataset, preprocessor, config, None, Progress())
    (row,) = found.history
    assert row.train_loss < np.log(3)
    head = model.get_submodule(architecture.head)
    np.testing.assert_array_equal(head.weight.detach().numpy(), found.penalised.weight)
