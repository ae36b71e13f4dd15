"""What the first process of a run tells the others before the steps that they share, as tensors, texts and numbers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tl_infer.limits import Limits
from tl_train.config import TrainConfig
from tl_train.data.dataset import Dataset
from tl_train.data.looks import LOOK
from tl_train.data.samples import Sample
from tl_train.models.network import build_network
from tl_train.preprocess.graph import Preprocessor
from tl_train.run.prepare import architecture_and_input
from tl_train.setup import Identity, Setup, SharedSetup

_PARTS = ("train", "val")  # test images are judged by the first process


def state_for_others(setup: Setup) -> dict[str, Any]:
    """What the others need of it: the images as they were found, and the weights to start with."""
    dataset = setup.dataset
    return {
        "identity": json.dumps(setup.identity.as_dict()),
        "labels": [*dataset.labels],
        **{part: [_row(sample) for sample in dataset.part(part)] for part in _PARTS},
        "weights": setup.network.module.state_dict(),
    }


def setup_from(state: dict[str, Any]) -> SharedSetup:
    """The setup of another process, from what `state_for_others` made; it has no test images and no looks.

    Raises:
        TlError: the network cannot be built here.

    """
    stored = json.loads(state["identity"])
    config = TrainConfig.from_fields(stored["config"])
    identity = Identity(config, stored["data_fingerprint"], stored["versions"], stored["threads"])
    architecture, preprocess = architecture_and_input(config)
    network = build_network(architecture, "none", len(state["labels"]), config.head.kind)
    network.module.load_state_dict(state["weights"])
    train, val = ([_sample(row, config.data.limits) for row in state[part]] for part in _PARTS)
    dataset = Dataset(tuple(state["labels"]), train, val, test=[], broken=[], looks=np.empty(0, LOOK))
    return SharedSetup(identity=identity, dataset=dataset, preprocessor=Preprocessor(preprocess), network=network)


def _row(sample: Sample) -> list[Any]:
    path = None if sample.path is None else str(sample.path)
    pixels, targets = (None if array is None else torch.tensor(array) for array in (sample.pixels, sample.targets))
    return [sample.name, sample.label, path, pixels, targets]


def _sample(row: Sequence[Any], limits: Limits) -> Sample:
    name, label, path, pixels, targets = row
    return Sample(
        name,
        label,
        path=None if path is None else Path(path),
        pixels=None if pixels is None else pixels.numpy(),
        limits=limits,
        targets=None if targets is None else targets.numpy(),
    )
