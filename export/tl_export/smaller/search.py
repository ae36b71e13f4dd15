"""Which layers int8 leaves in float: decided on training images alone, so that held-out ones can judge."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx

from tl_export.graph.network_part import network_part, spec_of, with_network
from tl_export.run_pictures import LabelledPicture
from tl_export.smaller.gates import compare_speed
from tl_export.smaller.qdq import Layer, QuantizableNetwork
from tl_infer.images import load_image
from tl_infer.model.contract import LOGITS, PROBABILITIES
from tl_infer.model.session import Session
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress

# Each further try leaves about half as many layers again in float: few tries, and not many layers too many.
_MORE_LAYERS = 1.5
_TIMING_ROUNDS = 30
_TIMING_PICTURES = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """An int8 file that was tried on training images.

    Attributes:
        layers: how many layers it leaves in float.
        lost: what it loses on training images, as a share: the larger of the drop in accuracy and the drop in the
            mean probability of the true class; the latter still tells files apart where all answers are right.
        speedup: how many times faster than fp32 it is.

    """

    layers: int
    lost: float
    speedup: float


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """An int8 file to judge.

    Attributes:
        model: the file.
        excluded: names of the nodes that stayed float to save the accuracy.
        attempt: how it did on training images.

    """

    model: onnx.ModelProto
    excluded: tuple[str, ...]
    attempt: Attempt


class Search:
    """Tries int8 files on training images.

    Attributes:
        attempts: what was tried, in order.

    """

    def __init__(
        self, model: onnx.ModelProto, training: Sequence[LabelledPicture], max_drop: float, progress: Progress
    ) -> None:
        """Measure the ranges of a finished file's values on its training images.

        Args:
            model: as `assemble` makes it.
            training: one or more.
            max_drop: what may be lost on them, as a share.
            progress: shows what goes on.

        Raises:
            TlError: an image that cannot be read, or a network that onnxruntime cannot quantize.

        """
        self._model, self._max_drop, self._progress = model, max_drop, progress
        self._data = model.SerializeToString()
        self._pictures = [load_image(item.picture) for item in training]
        labels = spec_of(model).labels
        self._truth = np.array([labels.index(item.label) for item in training])
        preprocess = Preprocessor(spec_of(model).preprocess)
        steps = progress.steps(self._pictures, "Calibrating int8", len(self._pictures))
        self._network = QuantizableNetwork(network_part(model), (preprocess(pixels) for pixels in steps))
        self._expected = self._run(self._data, PROBABILITIES)
        self.attempts: list[Attempt] = []

    def choose(self, sensitivity_pictures: int) -> Candidate:
        """The first file that loses no more than allowed, leaving the most sensitive layers in float, more each time.

        Where no such file is faster than fp32, the one that loses least.

        Args:
            sensitivity_pictures: how many images the layers are ranked on.

        """
        found = self._try([])
        if self._is_done(found):
            return found
        best = found
        ranked = self._rank_layers(sensitivity_pictures)
        for layers in _growing(ranked):
            self._progress.note(
                f"int8 loses {found.attempt.lost * 100:.2f} points on training images; trying {len(layers)} of "
                f"{len(ranked)} layers in float"
            )
            found = self._try(layers)
            if found.attempt.speedup <= 1:
                break
            best = min(best, found, key=lambda one: one.attempt.lost)
            if self._is_done(found):
                return found
        return best

    def _is_done(self, candidate: Candidate) -> bool:
        return candidate.attempt.lost <= self._max_drop or candidate.attempt.speedup <= 1

    def _try(self, layers: Sequence[Layer]) -> Candidate:
        excluded = tuple(name for layer in layers for name in layer)
        model = with_network(self._model, self._network.int8(excluded))
        data = model.SerializeToString()
        speed = compare_speed(self._data, data, self._pictures[:_TIMING_PICTURES], _TIMING_ROUNDS)
        attempt = Attempt(len(layers), self._lost(self._run(data, PROBABILITIES)), speed.ratio.value)
        self.attempts.append(attempt)
        return Candidate(model, excluded, attempt)

    def _lost(self, found: npt.NDArray[np.float32]) -> float:
        """The larger of the drops in accuracy and in the mean probability of the true class, as a share."""
        rows = np.arange(len(self._truth))
        right = [float((answers.argmax(axis=1) == self._truth).mean()) for answers in (self._expected, found)]
        sure = [float(answers[rows, self._truth].mean(dtype=np.float64)) for answers in (self._expected, found)]
        return max(right[0] - right[1], sure[0] - sure[1])

    def _rank_layers(self, pictures: int) -> list[Layer]:
        """The layers, the one that int8 hurts most first, by the first training images.

        Source: Wu et al., "Integer quantization for deep learning inference: principles and empirical evaluation",
        2020, section 6.1 (partial quantization): one layer at a time is quantized, the others stay float. The measure
        here is the noise in the logits, not the accuracy, which on few images does not tell layers apart.
        """
        layers = self._network.layers
        expected = self._run(self._data, LOGITS, pictures)
        noise = []
        for layer in self._progress.steps(layers, "Ranking layers", len(layers)):
            quantized = with_network(self._model, self._network.int8(only=layer))
            noise.append(_noise_share(expected, self._run(quantized.SerializeToString(), LOGITS, pictures)))
        return [layers[place] for place in np.argsort(-np.array(noise), kind="stable")]

    def _run(self, data: bytes, output: str, pictures: int | None = None) -> npt.NDArray[np.float32]:
        """One output (N, C) of a file on the first N training images; on all for None."""
        session = Session.from_bytes(data, "model")
        return np.concatenate([session.run(picture[np.newaxis], [output])[0] for picture in self._pictures[:pictures]])


def _noise_share(expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> float:
    """Noise power over signal power of logits (N, C); what an image adds to all classes alike is left out."""
    signal = expected - expected.mean(axis=1, keepdims=True)
    noise = found - found.mean(axis=1, keepdims=True) - signal
    return float(np.square(noise, dtype=np.float64).sum() / max(np.square(signal, dtype=np.float64).sum(), 1e-30))


def _growing(ranked: Sequence[Layer]) -> Iterator[Sequence[Layer]]:
    """The first layers of the ranking, more each time; never all, which would be the float file again."""
    count = 1
    while count < len(ranked):
        yield ranked[:count]
        count = math.ceil(count * _MORE_LAYERS)
