"""Fitting a head for each label on the features of the frozen backbone."""

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tl_train.data.dataset import Dataset
from tl_train.data.samples import Sample, targets_of
from tl_train.evaluation.multi_label import binary_losses
from tl_train.head.features import features_of
from tl_train.head.fit_head import FittedHead
from tl_train.head.problem import LabelHeadProblem, folding_of
from tl_train.history import Epoch
from tl_train.models.new_head import set_linear
from tl_train.progress import Progress
from tl_train.setup import Setup


def fit_multi_label_head(setup: Setup, progress: Progress) -> FittedHead:
    """Fit a row of the network's head in place for each label; the backbone stays as it is.

    Raises:
        DataError: a feature is not finite.

    """
    started = time.perf_counter()
    dataset, network = setup.dataset, setup.network
    network.prepare_for_training("head")
    features, targets = features_of(dataset, dataset.train), targets_of(dataset.train, len(dataset.labels))
    with progress.counter("Fitting the heads") as report:
        found = LabelHeadProblem(folding_of(setup.config, dataset)).fit(features, targets, report)
    set_linear(network.head, torch.from_numpy(found.weight), torch.from_numpy(found.bias))
    train_loss, train_accuracy = _judged(network.head, dataset, dataset.train)
    val_loss, val_accuracy = _judged(network.head, dataset, dataset.val) if dataset.val else (None, None)
    row = Epoch(1, train_loss, train_accuracy, val_loss, val_accuracy, time.perf_counter() - started)
    progress.note(
        f"{len(dataset.labels)} heads fitted with penalties of {min(found.strengths):.3g} to "
        f"{max(found.strengths):.3g} towards zero, chosen by cross-validation"
    )
    progress.epoch(row)
    return FittedHead([row], cross_fitted=found.cross_fitted, label_heads=found)


def _judged(head: nn.Linear, dataset: Dataset, samples: Sequence[Sample]) -> tuple[float, float]:
    """Mean binary cross-entropy over all known labels (nats), and the share of them that is right."""
    head.eval()
    with torch.inference_mode():
        logits = head(torch.from_numpy(features_of(dataset, samples))).numpy()
    return judge_labels(logits, targets_of(samples, len(dataset.labels)))


def judge_labels(logits: npt.NDArray[np.floating], targets: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Mean binary cross-entropy (nats), and the share of labels that a probability of one half gets right.

    Args:
        logits: (N, C).
        targets: (N, C), 1 present, 0 absent, NaN unknown; those do not count.

    """
    known, present = np.isfinite(targets), targets == 1
    right = (logits > 0) == present
    return float(binary_losses(logits, present)[known].mean()), float(right[known].mean())
