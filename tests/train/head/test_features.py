import dataclasses

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from tl_train.config import TrainConfig
from tl_train.head.features import CachedPart, part_of
from tl_train.head.fit_head import fit_head
from tl_train.head.steps import head_logits, train_head
from tl_train.progress import Progress
from tl_train.run.prepare import prepare
from tl_train.training.epochs import train_epochs
from tl_train.training.predict import predict


def setup(shapes, arch="timm:test_efficientnet", **fields):
    fields = {"head_fit": "sgd", "prior": "none", "size": 32, **fields}
    return prepare(
        TrainConfig.of(str(shapes), arch=arch, weights="none", epochs=3, val_split=0.2, seed=1, **fields),
        Progress(),
    )


@pytest.mark.parametrize("arch", ["timm:test_efficientnet", "timm:test_vit", "efficientnet_b0"])
def test_the_head_on_the_features_is_the_network(shapes, arch):
    run = setup(shapes, arch, size=None if arch == "timm:test_vit" else 32)
    samples = run.dataset.test
    part = part_of(run.dataset, samples)
    assert part.features.dtype == np.float32
    assert part.features.shape == (len(samples), run.network.head.in_features)
    logits = head_logits(run.network.head, part)
    np.testing.assert_allclose(logits, predict(run.network.module, samples, run.preprocessor), atol=1e-4)


def test_cached_features_train_the_same_head_as_the_loop(shapes, tmp_path):
    on_features, in_the_loop = setup(shapes), setup(shapes)
    cached = fit_head(on_features, Progress()).epochs
    recomputed = train_epochs(Fabric(accelerator="cpu", devices=1), in_the_loop, tmp_path, Progress()).epochs
    theirs = in_the_loop.network.module.state_dict()
    for name, tensor in on_features.network.module.state_dict().items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-5, rtol=1e-4)
    for row, other in zip(cached, recomputed, strict=True):
        assert dataclasses.astuple(row)[:5] == pytest.approx(dataclasses.astuple(other)[:5], rel=1e-4)


def test_a_head_may_be_trained_without_validation_pictures():
    part = CachedPart(np.eye(6, dtype=np.float32), np.array([0, 1] * 3))
    config = TrainConfig.of("digits", epochs=20, batch_size=2, lr=0.1)
    head = torch.nn.Linear(6, 2)
    history = train_head(head, part, None, config, Progress())
    assert len(history) == 20
    assert history[-1].val_loss is None
    assert history[-1].train_accuracy == 1.0


def test_labels_and_features_belong_together():
    with pytest.raises(ValueError, match=r"found features \(2, 3\) and labels \(3,\)"):
        CachedPart(np.zeros((2, 3), np.float32), np.zeros(3, np.int64))


def test_the_penalised_fit_replaces_the_steps(shapes):
    run = setup(shapes, head_fit="penalised")
    found = fit_head(run, Progress())
    (row,) = found.epochs
    assert row.train_loss < np.log(3)
    np.testing.assert_array_equal(run.network.head.weight.detach().numpy(), found.penalised.weight)
