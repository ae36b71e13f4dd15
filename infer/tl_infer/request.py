"""What is asked of a model for each image, and its outputs as answers."""

import dataclasses
import operator
import time
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tl_infer.model.contract import EMBEDDING, FAMILIARITY, HEATMAP, PROBABILITIES
from tl_infer.model.session import Session
from tl_infer.results import Classification, Reason, Score, Vector

Pixels = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes:
        labels: of the model.
        top_k: how many classes to name, 1 to all; None for all.
        threshold: abstain as unsure below this probability, 0..1; None never does. With several labels: what all their
            thresholds are; None for `thresholds`.
        min_familiarity: abstain as unfamiliar below this familiarity, 0..1; None never does.
        thresholds: of each label, of a model that gives several; None for one that gives one.
        extras: the outputs wanted besides the probabilities: `familiarity`, `embedding`, `heatmap`.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.
        TypeError: a value is no number, or `top_k` no whole one.

    """

    labels: tuple[str, ...]
    top_k: int | None = 1
    threshold: float | None = None
    min_familiarity: float | None = None
    extras: tuple[str, ...] = ()
    thresholds: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None and not 1 <= operator.index(self.top_k) <= len(self.labels):
            raise ValueError(f"top_k: found {self.top_k}, expected 1 to {len(self.labels)} (the model's classes)")
        for name in ("threshold", "min_familiarity"):
            least = getattr(self, name)
            if least is not None and not 0 <= least <= 1:
                raise ValueError(f"{name}: found {least}, expected 0 to 1")

    def run(self, session: Session, images: Pixels, started: float) -> list[Classification]:
        """Run images of one size.

        Args:
            session: of the model; only the outputs asked for are computed.
            images: uint8 (N, H, W, 3), N at least 1.
            started: what `time.perf_counter` gave when the work on them began.

        Raises:
            ModelFileError: as for `Session.run`.

        """
        names = (PROBABILITIES, *self.extras)
        outputs = dict(zip(names, session.run(images, names), strict=True))
        ms = (time.perf_counter() - started) * 1000 / len(images)
        return [self._answer({name: outputs[name][i] for name in names}, ms) for i in range(len(images))]

    def _answer(self, outputs: Mapping[str, Vector], ms: float) -> Classification:
        probabilities = outputs[PROBABILITIES]
        # Stable: of equal probabilities the first label wins, as with argmax.
        order = np.argsort(-probabilities, kind="stable")[: self.top_k]
        top = tuple(Score(self.labels[i], float(probabilities[i])) for i in order)
        familiarity = float(outputs[FAMILIARITY]) if FAMILIARITY in outputs else None
        reason = self._reason(top[0].probability, familiarity)
        several = None
        if self.thresholds is not None:
            several = () if reason == "unfamiliar" else self._several(probabilities)
        # Copies, so that the maps of the other classes need not be kept.
        heatmap = outputs[HEATMAP][order[0]].copy() if HEATMAP in outputs else None
        heatmaps = None
        if HEATMAP in outputs and several is not None:
            heatmaps = {label: outputs[HEATMAP][self.labels.index(label)].copy() for label in several}
        return Classification(
            top, reason is not None, ms, outputs.get(EMBEDDING), heatmap,
            reason=reason, familiarity=familiarity, several=several, heatmaps=heatmaps,
        )  # fmt: skip

    def _several(self, probabilities: Vector) -> tuple[str, ...]:
        """The labels that the image has, the most probable first."""
        least = np.array(self.thresholds) if self.threshold is None else np.full(len(self.labels), self.threshold)
        order = np.argsort(-probabilities, kind="stable")
        return tuple(self.labels[i] for i in order if probabilities[i] >= least[i])

    def _reason(self, probability: float, familiarity: float | None) -> Reason | None:
        """Why the model abstains; of an unfamiliar image the probabilities mean nothing, so that is said first."""
        if familiarity is not None and self.min_familiarity is not None and familiarity < self.min_familiarity:
            return "unfamiliar"
        if self.thresholds is not None:  # no label at all is an answer, too
            return None
        return "unsure" if self.threshold is not None and probability < self.threshold else None
