"""Which layers int8 leaves in float: decided on training pictures alone, so that held-out ones can judge."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx

from tl_export.graph.network_part import network_part, spec_of, with_network
from tl_export.smaller.gates import LabelledPicture, compare_speed
from tl_export.smaller.qdq import QuantizableNetwork
from tl_export.smaller.sensitivity import rank_layers
from tl_infer.images import load_image
from tl_infer.model.contract import PROBABILITIES
from tl_infer.model.modelfile import ModelFile
from tl_infer.model.session import Session
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress

# Each further try leaves about half as many layers again in float: few tries, and few layers too many.
_MORE_LAYERS = 1.5
_TIMING_ROUNDS = 30
_TIMING_PICTURES = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """An int8 file that was tried, on training pictures.

    Attributes:
        layers: how many layers it leaves in float.
        lost: what it loses on training pictures, as a share: the larger of the accuracy lost and of the mean
            probability of the true class lost; the latter still tells files apart where all answers are right.
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
        attempt: what it did on training pictures.

    """

    model: onnx.ModelProto
    excluded: tuple[str, ...]
    attempt: Attempt


class Search:
    """Tries int8 files on training pictures.

    Attributes:
        attempts: what was tried, in order.

    """

    def __init__(
        self, model: onnx.ModelProto, training: Sequence[LabelledPicture], max_drop: float, progress: Progress
    ) -> None:
        """Measure the ranges of a finished file's values on its training pictures.

        Args:
            model: as `assemble` makes it.
            training: one or more.
            max_drop: what may be lost on them, as a share.
            progress: shows what goes on.

        Raises:
            TlError: a picture that cannot be read, or a network that onnxruntime cannot quantize.

        """
        self._model, self._max_drop, self._progress = model, max_drop, progress
        self._data = model.SerializeToString()
        self._pictures = [load_image(item.picture) for item in training]
        labels = spec_of(model).labels
        self._truth = np.array([labels.index(item.label) for item in training])
        preprocess = Preprocessor(spec_of(model).preprocess)
        steps = progress.steps(self._pictures, "Calibrating int8", len(self._pictures))
        self._network = QuantizableNetwork(network_part(model), (preprocess(pixels) for pixels in steps))
        self._expected = self._probabilities(self._data)
        self.attempts: list[Attempt] = []

    def choose(self, sensitivity_pictures: int) -> Candidate:
        """The first file that loses no more than allowed, leaving the worst layers in float one by one.

        Where there is none while it is faster than fp32, the one that loses least.

        Args:
            sensitivity_pictures: how many pictures the layers are ranked on.

        """
        found = self._try([])
        if self._is_done(found):
            return found
        best = found
        ranked = rank_layers(self._model, self._network, self._pictures[:sensitivity_pictures], self._progress)
        for layers in _growing(ranked):
            self._progress.note(
                f"int8 loses {found.attempt.lost * 100:.2f} points on training pictures; trying {len(layers)} of "
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

    def _try(self, layers: Sequence[tuple[str, ...]]) -> Candidate:
        excluded = tuple(name for layer in layers for name in layer)
        model = with_network(self._model, self._network.int8(excluded))
        data = model.SerializeToString()
        speed = compare_speed(self._data, data, self._pictures[:_TIMING_PICTURES], _TIMING_ROUNDS)
        attempt = Attempt(len(layers), self._lost(self._probabilities(data)), speed.ratio.value)
        self.attempts.append(attempt)
        return Candidate(model, excluded, attempt)

    def _lost(self, found: npt.NDArray[np.float32]) -> float:
        """The larger of accuracy lost and mean probability of the true class lost, as a share."""
        rows = np.arange(len(self._truth))
        right = [float((answers.argmax(axis=1) == self._truth).mean()) for answers in (self._expected, found)]
        sure = [float(answers[rows, self._truth].mean(dtype=np.float64)) for answers in (self._expected, found)]
        return max(right[0] - right[1], sure[0] - sure[1])

    def _probabilities(self, data: bytes) -> npt.NDArray[np.float32]:
        session = Session(ModelFile(data, "model"), threads=1)
        return np.concatenate([session.run(picture[np.newaxis], [PROBABILITIES])[0] for picture in self._pictures])


def _growing(ranked: Sequence[tuple[str, ...]]) -> Iterator[Sequence[tuple[str, ...]]]:
    """The first layers of the ranking, more each time; never all, which would be the float file again."""
    count = 1
    while count < len(ranked):
        yield ranked[:count]
        count = math.ceil(count * _MORE_LAYERS)
