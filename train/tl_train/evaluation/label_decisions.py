"""From logits to labels: a temperature for each label, and the probability from which on an image is given it.

Both are fitted on images that the network was not fitted on; which these are is the caller's to say.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tl_infer.errors import and_more
from tl_train.evaluation.answers import Bools, Floats
from tl_train.evaluation.calibration import least_temperature, prior_share
from tl_train.evaluation.multi_label import LabelAnswers, binary_losses

# A judgement: with fewer images that have the label, or that have it not, one more or less decides its threshold.
MIN_OF_EACH = 5

_DEFAULT_THRESHOLD = 0.5
_DIGITS = 6  # significant
_NAMED = 5


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LabelDecisions:
    """What was fitted for each label, and on what.

    Attributes:
        temperatures: float (C,), the logits are divided by these before the sigmoid; 1 where not fitted.
        thresholds: float (C,), an image is given the label from this probability on.
        images: how many images there were to fit on.
        source: which images, in words.
        notes: what could not be fitted and why, a sentence each.

    """

    temperatures: Floats
    thresholds: Floats
    images: int
    source: str
    notes: tuple[str, ...] = ()


def fit_decisions(
    answers: LabelAnswers,
    labels: Sequence[str],
    *,
    source: str,
    precision: float | None = None,
    may_sharpen: bool = True,
) -> LabelDecisions:
    """Fit temperature and threshold of each label.

    Args:
        answers: on images that the network was not fitted on; may be none.
        labels: their names, for the notes.
        source: which images these are, for reports.
        precision: the lowest threshold with this precision, above 0, at most 1; None for the one with the best F1.
        may_sharpen: whether a temperature below 1 is taken; see `tl_train.evaluation.calibration.fit_calibration`.

    """
    temperatures = fit_label_temperatures(answers)
    if not may_sharpen:
        temperatures = np.maximum(1.0, temperatures)
    thresholds = np.full(len(labels), _DEFAULT_THRESHOLD)
    too_few, out_of_reach = [], []
    for place, label in enumerate(labels):
        logits, truth = answers.of_label(place)
        if not _suffices(truth):
            too_few.append(label)
            continue
        probabilities = 1 / (1 + np.exp(-logits / temperatures[place]))
        reaching = None if precision is None else precision_threshold(probabilities, truth, precision)
        if precision is not None and reaching is None:
            out_of_reach.append(label)
        thresholds[place] = best_f1_threshold(probabilities, truth) if reaching is None else reaching
    notes = []
    if not len(answers):
        notes.append(
            f"Every threshold is {_DEFAULT_THRESHOLD:g} and the probabilities are uncalibrated: there are no {source}, "
            "or too few, to fit them on."
        )
    elif too_few:
        notes.append(
            f"Labels without a threshold of their own ({_DEFAULT_THRESHOLD:g}), and uncalibrated: "
            f"{and_more(too_few, _NAMED)}; fewer than {MIN_OF_EACH} of the {source} have them, or have them not."
        )
    if out_of_reach:
        notes.append(
            f"Labels with the threshold of their best F1, as none gives a precision of {precision:g}: "
            f"{and_more(out_of_reach, _NAMED)}."
        )
    return LabelDecisions(temperatures, thresholds, len(answers), source, tuple(notes))


def fit_label_temperatures(answers: LabelAnswers) -> Floats:
    """The temperature of each label, float (C,); 1 where too few images tell it."""
    temperatures = np.ones(answers.logits.shape[1])
    for place in range(len(temperatures)):
        logits, truth = answers.of_label(place)
        if _suffices(truth):
            temperatures[place] = fit_label_temperature(logits, truth)
    return temperatures


def _suffices(truth: Bools) -> bool:
    """Whether there are images enough that have a label, and that have it not."""
    return bool(min(truth.sum(), (~truth).sum()) >= MIN_OF_EACH)


def fit_label_temperature(logits: Floats, truth: Bools) -> float:
    """The temperature T with the least mean binary cross-entropy of sigmoid(logits / T).

    With the same prior as that of a softmax; see `tl_train.evaluation.calibration.fit_temperature`.

    Args:
        logits: float (n,), finite.
        truth: bool (n,), whether each image has the label.

    """

    def loss(temperature: float) -> float:
        return float(binary_losses(logits / temperature, truth).mean() + prior_share(temperature, len(truth)))

    return least_temperature(loss)


def best_f1_threshold(probabilities: Floats, truth: Bools) -> float:
    """The threshold with the best F1; halfway between two probabilities that were seen, of equals the highest.

    Args:
        probabilities: float (n,).
        truth: bool (n,), True at least once.

    """
    thresholds, right, given = _steps(probabilities, truth)
    f1 = 2 * right / (given + truth.sum())
    return float(thresholds[int(f1.argmax())])


def precision_threshold(probabilities: Floats, truth: Bools, precision: float) -> float | None:
    """The lowest threshold from which on so large a share of the images have the label; None where none does.

    Args:
        probabilities: float (n,).
        truth: bool (n,).
        precision: above 0, at most 1.

    """
    thresholds, right, given = _steps(probabilities, truth)
    reaching = np.flatnonzero(right / given >= precision)
    return float(thresholds[reaching[-1]]) if len(reaching) else None


def _steps(probabilities: Floats, truth: Bools) -> tuple[Floats, Floats, Floats]:
    """Thresholds, falling; of the images from each on, those with the label, and all."""
    levels, place = np.unique(-probabilities, return_inverse=True)
    levels = -levels
    right: Floats = np.cumsum(np.bincount(place, weights=truth)).astype(np.float64)
    given: Floats = np.cumsum(np.bincount(place)).astype(np.float64)
    # As far from what is given the label as from what is not; below the last there is nothing but 0.
    below = np.append(levels[1:], 0.0)
    middle = np.array([float(f"{value:.{_DIGITS}g}") for value in (levels + below) / 2])
    # Probabilities next to 1 may be closer to each other than what was rounded off.
    return np.where((middle > below) & (middle <= levels), middle, levels), right, given
