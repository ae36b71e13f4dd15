"""The self-test: whether a model gives the same answers here as where it was made."""

import numpy as np

from tl_infer.errors import ImageError, ModelFileError, SelfTestError
from tl_infer.images import Pixels, load_image
from tl_infer.model.contract import PROBABILITIES
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
        SelfTestError: a probability is not within the tolerance.
        ModelFileError: the file has no golden samples, one of them is not an image, or the model failed.

    """
    golden = session.golden
    if golden is None:
        raise ModelFileError(
            f"{where}: has no golden samples, so it cannot test itself; it was made by an older tl-export: export the "
            "model again"
        )
    worst, worst_name = 0.0, ""
    for number, sample in enumerate(golden.samples, start=1):
        (found,) = session.run(_pixels(sample.png, str(number))[np.newaxis], [PROBABILITIES])
        difference = float(np.abs(found[0] - np.asarray(sample.probabilities)).max())
        if difference >= worst:
            worst, worst_name = difference, sample.name
    if worst > golden.tolerance:
        raise SelfTestError(
            f"{where}: self-test failed: sample '{worst_name}' differs by {worst:.2g} in a probability, the tolerance "
            f"is {golden.tolerance:.2g}; this onnxruntime or provider does not compute what the model says"
        )
    return SelfTest(len(golden.samples), worst, golden.tolerance)


def _pixels(png: bytes, number: str) -> Pixels:
    try:
        return load_image(png)
    except ImageError as error:
        raise ModelFileError(f"tl.golden: sample {number}: {error.reason}") from error
