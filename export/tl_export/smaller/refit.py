"""The head fitted again on what the int8 network computes."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import torch

from tl_export.graph.network_head import cut_at, find_head, with_head
from tl_export.run_pictures import RunImages
from tl_export.smaller.recalibrate import recalibrated
from tl_infer.model.contract import ModelSpec
from tl_train.data.samples import Sample, truth_of
from tl_train.head.features import Features
from tl_train.head.problem import HeadProblem, LabelHeadProblem
from tl_train.models.onnx_network import OnnxNetwork
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress

_LEAST_ROOM = 1e-6  # of an image that decides its own fit, up to rounding

Logits = npt.NDArray[np.float32]
Problem = HeadProblem | LabelHeadProblem

# Strengths of the ridge penalty that are tried, in units of the mean variance of a direction of the features.
_STRENGTHS = tuple(10.0 ** (exponent / 2) for exponent in range(-8, 7))
# A direction shorter than this, against the longest one, is rounding.
_LEAST_LENGTH = 1e-6
# So many images tell how the float32 head is to be corrected; its labels are not learned again.
_MAX_IMAGES = 2000


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Refitted:
    """An int8 network with a head of its own.

    Attributes:
        network: the int8 network with that head.
        spec: the run's, with the temperature and thresholds of this network.
        how: what was done, in a few words.
        cross_fitted: answers to the training images, each of a head that was fitted without it; None where the
            backbone has learned from them, or the head was fitted in another way.

    """

    network: onnx.ModelProto
    spec: ModelSpec
    how: str
    cross_fitted: Logits | None = None


class HeadRefit:
    """Fits heads of one run again."""

    def __init__(self, images: RunImages, spec: ModelSpec, problem: Problem | None, progress: Progress) -> None:
        """Take the run.

        Args:
            images: of the run.
            spec: of the run.
            problem: what its head is the solution of; None where that was not on the features of a frozen backbone.
            progress: shows what goes on.

        """
        self._images, self._spec, self._problem, self._progress = images, spec, problem, progress
        self._preprocess = Preprocessor(spec.preprocess)

    def __call__(self, float32: onnx.ModelProto, int8: onnx.ModelProto) -> Refitted:
        """The int8 network with its head fitted again, and calibrated.

        On a frozen backbone it is the same fit as in training. Elsewhere the network knows the training images by heart
        and their labels teach a head nothing: there the head is corrected towards float32's own logits.

        Args:
            float32: the network that int8 was made of.
            int8: the int8 network, with the trained head.

        """
        if self._problem is not None:
            return self._as_in_training(int8, self._problem)
        return self._towards_float32(float32, int8)

    def cross_fitted(self, network: onnx.ModelProto) -> Logits | None:
        """Answers of a network to the training images, each of a head that was fitted without it."""
        if self._problem is None:
            return None
        features = self._seen(network, self._images.dataset.train, "What float32 computes")
        return self._problem.fit(features, truth_of(self._images.dataset.train)).cross_fitted

    def _as_in_training(self, int8: onnx.ModelProto, problem: Problem) -> Refitted:
        features = self._seen(int8, self._images.dataset.train, "What int8 computes")
        with self._progress.counter("Fitting the head to int8") as report:
            found = problem.fit(features, truth_of(self._images.dataset.train), report)
        network = with_head(int8, found.weight, found.bias)
        if network is None:
            return self._as_trained(int8)
        spec = self._recalibrated(network, found.cross_fitted)
        return Refitted(network, spec, "the head fitted again", found.cross_fitted)

    def _towards_float32(self, float32: onnx.ModelProto, int8: onnx.ModelProto) -> Refitted:
        samples = self._images.training(_MAX_IMAGES)
        head = find_head(int8)
        assert head is not None
        seen = [self._seen(one, samples, name) for one, name in ((float32, "What float32 computes"),
                                                                 (int8, "What int8 computes"))]  # fmt: skip
        weight, bias = ridge(seen[1], _logits(seen[0] - seen[1], head.weight))
        network = with_head(int8, head.weight + weight, head.bias + bias)
        if network is None:
            return self._as_trained(int8)
        return Refitted(network, self._recalibrated(network, None), "the head corrected towards float32's logits")

    def _as_trained(self, int8: onnx.ModelProto) -> Refitted:
        """Of a heatmap that is made of other weights than the head's, as behind an appended head."""
        return Refitted(int8, self._recalibrated(int8, None), "the head as it was trained")

    def _recalibrated(self, network: onnx.ModelProto, cross_fitted: Logits | None) -> ModelSpec:
        def logits_of(samples: Sequence[Sample]) -> Logits:
            head = find_head(network)
            assert head is not None
            return _logits(self._seen(network, samples, "Calibrating int8"), head.weight, head.bias)

        return recalibrated(self._spec, self._images, cross_fitted, logits_of)

    def _seen(self, network: onnx.ModelProto, samples: Sequence[Sample], shown: str) -> Features:
        """What the head of a network sees of images: float32 (N, D)."""
        head = find_head(network)
        assert head is not None
        session = OnnxNetwork(cut_at(network, head.seen, head.weight.shape[1]).SerializeToString())
        rows = session.map(lambda sample: [self._preprocess(sample.load())], samples)
        return np.stack([row for (row,) in self._progress.steps(rows, shown, len(samples))])


def ridge(features: Features, targets: Logits) -> tuple[Logits, Logits]:
    """The linear map from features to targets with the least squared error on images that it was not fitted on.

    Args:
        features: float32 (N, D).
        targets: float32 (N, C).

    Returns:
        Weight float32 (C, D) and bias float32 (C,).

    Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 2nd ed., 3.4.1 (ridge regression by
    singular values) and 7.10 (leave-one-out errors of linear fits).

    """
    # torch aligns its memory and so always sums in the same order: the same images give the same bits.
    seen, wanted = (torch.tensor(values, dtype=torch.float64) for values in (features, targets))
    mean, middle = seen.mean(dim=0), wanted.mean(dim=0)
    wanted = wanted - middle
    left, lengths, directions = torch.linalg.svd(seen - mean, full_matrices=False)
    kept = lengths > _LEAST_LENGTH * lengths[0]
    left, lengths, directions = left[:, kept], lengths[kept], directions[kept]
    if not len(lengths):  # the same features of every image
        return np.zeros((targets.shape[1], features.shape[1]), np.float32), middle.float().numpy()
    squares, projected = lengths.square(), left.T @ wanted

    def left_out_error(strength: float) -> float:
        shrunk = squares / (squares + strength)
        room = (1 - 1 / len(seen) - left.square() @ shrunk).clamp_min(_LEAST_ROOM)
        errors = (wanted - left @ (shrunk[:, None] * projected)) / room[:, None]
        return float(errors.square().mean())

    strength = min((factor * float(squares.mean()) for factor in _STRENGTHS), key=left_out_error)
    weight = (directions.T @ ((lengths / (squares + strength))[:, None] * projected)).T
    return weight.float().numpy(), (middle - weight @ mean).float().numpy()


def _logits(features: Features, weight: Logits, bias: Logits | float = 0.0) -> Logits:
    """Features @ weight.T + bias, float32 (N, C); torch aligns its memory, see `ridge`."""
    product = torch.tensor(features) @ torch.tensor(weight).T + torch.tensor(bias)
    logits: Logits = product.numpy()
    return logits
