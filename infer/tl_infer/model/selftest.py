"""The self-test: whether a model gives the same answers here as where it was made."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tl_infer.errors import ImageError, ModelFileError, SelfTestError
from tl_infer.images import Pixels, load_image
from tl_infer.model.contract import FAMILIARITY, PROBABILITIES
from tl_infer.model.golden import GoldenSet
from tl_infer.model.session import Session
from tl_infer.results import SelfTest


def sample_image(golden: GoldenSet | None) -> Pixels:
    """An image to try a model on: its first golden sample, or a small grey one if it has none.

    Raises:
        ModelFileError: the sample is not an image.

    """
    return np.full((8, 8, 3), 128, np.uint8) if golden is None else _pixels(golden.samples[0].png, "1")


def run_self_test(session: Session, where: str) -> SelfTest:
    """Run all golden samples; `where` is what to call the model in messages.

    Raises:
        SelfTestError: a probability or a familiarity is not within its tolerance.
        ModelFileError: the file has no golden samples, one of them is not an image, or the model failed.

    """
    golden = session.golden
    if golden is None:
        raise ModelFileError(
            f"{where}: has no golden samples, so it cannot test itself; it was made by an older tl-export: export the "
            "model again"
        )
    names = [PROBABILITIES] if golden.familiarity_tolerance is None else [PROBABILITIES, FAMILIARITY]
    answers = [
        session.run(_pixels(sample.png, str(number))[np.newaxis], names)
        for number, sample in enumerate(golden.samples, start=1)
    ]
    probability = _worst(
        golden, [found[0][0] for found in answers], [sample.probabilities for sample in golden.samples]
    )
    _check(*probability, golden.tolerance, "in a probability", where)
    familiarity = None
    if golden.familiarity_tolerance is not None:
        expected = [sample.familiarity or 0.0 for sample in golden.samples]
        worst = _worst(golden, [found[1][0] for found in answers], expected)
        _check(*worst, golden.familiarity_tolerance, "in its familiarity", where)
        familiarity = worst[0]
    return SelfTest(len(golden.samples), probability[0], golden.tolerance, familiarity, golden.familiarity_tolerance)


def _worst(golden: GoldenSet, found: Sequence[npt.ArrayLike], expected: Sequence[npt.ArrayLike]) -> tuple[float, str]:
    """The largest difference, and the name of the sample that it is of."""
    gaps = [float(np.abs(np.subtract(ours, theirs)).max()) for ours, theirs in zip(found, expected, strict=True)]
    worst = max(range(len(gaps)), key=lambda place: (gaps[place], place))
    return gaps[worst], golden.samples[worst].name


def _check(difference: float, name: str, tolerance: float, what: str, where: str) -> None:
    if difference > tolerance:
        raise SelfTestError(
            f"{where}: self-test failed: sample '{name}' differs by {difference:.2g} {what}, the tolerance is "
            f"{tolerance:.2g}; this onnxruntime or provider does not compute what the model says"
        )


def _pixels(png: bytes, number: str) -> Pixels:
    try:
        return load_image(png)
    except ImageError as error:
        raise ModelFileError(f"tl.golden: sample {number}: {error.reason}") from error
