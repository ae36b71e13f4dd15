"""Which layers int8 leaves in float: decided on training images alone, so that held-out ones can judge."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx

from tl_export.graph.network_head import cut_at
from tl_export.smaller.gates import Allowance
from tl_export.smaller.inputs import NetworkInputs
from tl_export.smaller.judged import Judged, Loss, judge, loss_between
from tl_export.smaller.measure import Estimate, mean_estimate, noise_shares
from tl_export.smaller.qdq import Layer, QuantizableNetwork
from tl_infer.model.contract import LOGITS, ModelSpec
from tl_train.models.onnx_network import OnnxNetwork
from tl_train.progress import Progress

# Each further try leaves about half as many layers again in float: few tries, and not many layers too many.
_MORE_LAYERS = 1.5
# With more of the layers in float hardly any time is saved.
_MOST_IN_FLOAT = 0.5
# Noise that a network is not left with where answers on training images, which it knows by heart, show no loss. On a
# Lite0 with 10 classes 0.6% moved 2% of the answers, 2.6% moved 5%, 8.6% moved 9%.
_MAX_NOISE = 0.05

Logits = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """An int8 network that was tried on training images, none of which set the ranges.

    Attributes:
        layers: how many layers it leaves in float.
        noise: power of the noise in its logits, as a share of the signal's.
        loss: what it loses against float32; both have the head that was trained.

    """

    layers: int
    noise: Estimate
    loss: Loss


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """An int8 network to judge.

    Attributes:
        network: as `network_part` gives it, in int8.
        excluded: names of the nodes that stayed float to save the accuracy.
        attempt: how it did on training images.
        judged: its answers to them.

    """

    network: onnx.ModelProto
    excluded: tuple[str, ...]
    attempt: Attempt
    judged: Judged


class Search:
    """Tries int8 networks on training images.

    Attributes:
        attempts: what was tried, in order.

    """

    def __init__(
        self,
        network: QuantizableNetwork,
        images: NetworkInputs,
        allowance: Allowance,
        spec: ModelSpec,
        progress: Progress,
    ) -> None:
        """Let float32 answer first.

        Args:
            network: its ranges are measured.
            images: training images, none of which set the ranges; one or more.
            allowance: what may be lost.
            spec: of the model.
            progress: shows what goes on.

        """
        self._network, self._images = network, images
        self._allowance, self._spec, self._progress = allowance, spec, progress
        self._expected = self._logits(network.float32, images, "Answers of float32")
        self._judged = judge(self._expected, images.truth, spec)
        self.attempts: list[Attempt] = []

    def choose(self, sensitivity_images: int) -> Candidate:
        """The fastest network that shows no loss above the allowance, leaving more of the most sensitive layers float.

        Where all show one, the fastest of those that cannot be told apart from the one that loses least.

        Args:
            sensitivity_images: how many images the layers are ranked on.

        """
        tried = [self._try([])]
        if self._is_good(tried[-1]):
            return tried[-1]
        ranked = self._rank_layers(sensitivity_images)
        for layers in _growing(ranked):
            found = tried[-1].attempt
            self._progress.note(
                f"int8 with {found.layers} layers in float: {found.noise.value:.1%} noise in the logits, log-loss "
                f"{found.loss.log_loss.value:+.4f} on training images; trying {len(layers)} of {len(ranked)}"
            )
            tried.append(self._try(layers))
            if self._is_good(tried[-1]):
                return tried[-1]
        return _fastest_of_the_best(tried)

    def _is_good(self, candidate: Candidate) -> bool:
        attempt = candidate.attempt
        return not self._allowance.shows_loss(attempt.loss) and attempt.noise.low <= _MAX_NOISE

    def _try(self, layers: Sequence[Layer]) -> Candidate:
        excluded = tuple(name for layer in layers for name in layer)
        network = self._network.int8(excluded)
        found = self._logits(network, self._images, f"int8, {len(layers)} layers in float")
        judged = judge(found, self._images.truth, self._spec)
        noise = mean_estimate(noise_shares(self._expected, found, self._spec.task))
        attempt = Attempt(len(layers), noise, loss_between(self._judged, judged, self._progress))
        self.attempts.append(attempt)
        return Candidate(network, excluded, attempt, judged)

    def _rank_layers(self, images: int) -> list[Layer]:
        """The layers, the one that int8 hurts most first, by some of the images.

        Source: Wu et al., "Integer quantization for deep learning inference: principles and empirical evaluation",
        2020, section 6.1 (partial quantization): one layer at a time is quantized, the others stay float. The measure
        here is the noise in the logits, not the accuracy, which on few images does not tell layers apart.
        """
        layers, few = self._network.layers, self._images.part(0, images)
        noise = []
        for layer in self._progress.steps(layers, "Ranking layers", len(layers)):
            found = self._logits(self._network.int8(only=layer), few)
            noise.append(float(noise_shares(self._expected[:images], found, self._spec.task).mean()))
        return [layers[place] for place in np.argsort(-np.array(noise), kind="stable")]

    def _logits(self, network: onnx.ModelProto, images: NetworkInputs, shown: str = "") -> Logits:
        """What a network says to the images: (N, C)."""
        classes = self._network.head.weight.shape[0]
        session = OnnxNetwork(cut_at(network, LOGITS, classes).SerializeToString())
        answers: Iterable[Sequence[Logits]] = session.map(lambda place: [images[place]], range(len(images)))
        if shown:
            answers = self._progress.steps(answers, shown, len(images))
        return np.stack([row for (row,) in answers])


def _fastest_of_the_best(tried: Sequence[Candidate]) -> Candidate:
    """The fewest layers in float of those that are not shown to lose more than the one that loses least."""
    best = min(tried, key=lambda one: float(one.judged.log_losses.mean()))
    differences = (mean_estimate(one.judged.log_losses - best.judged.log_losses) for one in tried)
    return next(one for one, worse in zip(tried, differences, strict=True) if worse.low <= 0)


def _growing(ranked: Sequence[Layer]) -> Iterator[Sequence[Layer]]:
    """The first layers of the ranking, more each time, up to about half of them."""
    count = 1
    while count <= _MOST_IN_FLOAT * len(ranked):
        yield ranked[:count]
        count = math.ceil(count * _MORE_LAYERS)
