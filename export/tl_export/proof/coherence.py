"""Whether what a file says of one image fits together, whatever its precision and whatever run it is of."""

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from tl_export.errors import VerificationError
from tl_export.proof.precision import Rule
from tl_export.proof.stages import TOLERANCES, Answer, nan_last
from tl_infer.model.contract import HEATMAP, LOGITS, PROBABILITIES, ModelSpec

Floats = npt.NDArray[np.float64]


class Coherence:
    """Collects how far the parts of a file's answers are from each other.

    The contract says that probabilities are the softmax, or of several labels the sigmoids, of the logits over the
    temperature in `tl.spec`, and that the mean of the heatmap over its positions is the logits. Softmax and heatmap are
    computed in float32 in files of every precision.
    """

    def __init__(self, spec: ModelSpec, rule: Rule) -> None:
        """Take what the file says of itself, and what is allowed."""
        self._spec, self._rule = spec, rule
        self._probabilities: list[tuple[float, str]] = []
        self._heatmaps: list[tuple[float, str]] = []

    def add(self, image: str, answer: Answer) -> None:
        """The file's answer to an image of that name, with its logits, and with its heatmap where it gives one."""
        logits = answer.values[LOGITS].astype(np.float64)
        gap = float(np.abs(self._calibrated(logits) - answer.values[PROBABILITIES]).max())
        self._probabilities.append((nan_last(gap), image))
        if HEATMAP in answer.values:
            mean = answer.values[HEATMAP].mean(axis=(1, 2), dtype=np.float64)
            gap = float(np.abs(mean - logits).max() / max(1.0, np.abs(logits).max()))
            self._heatmaps.append((nan_last(gap), image))

    def check(self) -> None:
        """See whether they are near enough, on every image.

        Raises:
            VerificationError: the file contradicts itself.

        """
        _expect(
            self._probabilities,
            TOLERANCES[PROBABILITIES],
            "of probability between its answer and what its logits give at the temperature in its metadata",
        )
        _expect(
            self._heatmaps,
            self._rule.heatmap_mean,
            "of the largest logit or 1 between its logits and the mean of its heatmap",
        )

    def _calibrated(self, logits: Floats) -> Floats:
        if self._spec.temperatures is None:
            of_one: Floats = softmax(logits / self._spec.temperature)
            return of_one
        of_each: Floats = expit(logits / np.array(self._spec.temperatures))
        return of_each


def _expect(found: list[tuple[float, str]], allowed: float, what: str) -> None:
    largest, image = max(found, default=(0.0, ""))
    if largest > allowed:
        raise VerificationError(
            f"the file contradicts itself: {image}: {largest:.3g} {what}, allowed {allowed:g}; export the run again"
        )
