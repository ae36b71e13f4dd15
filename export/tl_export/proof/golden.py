"""Golden samples for a file: what its Classifier says of a few small images, and within what tolerance."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from tl_export.errors import VerificationError
from tl_export.options import Precision
from tl_export.proof.faults import FAULTS
from tl_export.proof.golden_pictures import sample_pictures, synthetic_pictures
from tl_export.proof.precision import RULES, Rule
from tl_export.proof.trained import Trained
from tl_infer.classifier import Classifier
from tl_infer.images import Pixels, load_image
from tl_infer.model.contract import PROBABILITIES
from tl_infer.model.golden import GoldenSample, GoldenSet
from tl_infer.model.session import Session

_FAULT_MARGIN = 4  # the tolerance is at most this part of what the weakest fault does
# Another runtime rounds a tie of the resize to the other grey level: onnxruntime's wasm build moved a probability of a
# network for digits by 2.1e-4 so. A fault that does less than this is named as missed.
_SMALLEST_TOLERANCE = 5e-4
_CANDIDATES = 24

Probabilities = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Golden:
    """Golden samples and what was measured of them.

    Attributes:
        samples: what goes into the file.
        harmless: change that must not matter -> the largest difference of any probability of any sample.
        faults: fault that must be seen -> likewise.
        pytorch: the same of the trained model in PyTorch; a harmless change too where the file is in float32.
        synthetic: whether they are drawn patterns, not copies of images.

    """

    samples: GoldenSet
    harmless: Mapping[str, float]
    faults: Mapping[str, float]
    pytorch: float
    synthetic: bool

    def missed(self) -> list[str]:
        """Faults that these samples would not catch: the network answers the same with them."""
        return [name for name, difference in self.faults.items() if difference <= self.samples.tolerance]

    def document(self) -> dict[str, object]:
        """What goes into the parity file."""
        return {
            "samples": [sample.name for sample in self.samples.samples],
            "synthetic": self.synthetic,
            "tolerance": self.samples.tolerance,
            "pytorch": float(f"{self.pytorch:.3g}"),
            "harmless": {name: float(f"{value:.3g}") for name, value in self.harmless.items()},
            "faults": {name: float(f"{value:.3g}") for name, value in self.faults.items()},
            "missed": self.missed(),
        }


def golden_samples(
    file: bytes, trained: Trained, rule: Rule = RULES[Precision.FP32], *, synthetic: bool = False
) -> Golden:
    """Choose golden samples, and measure what they can tell apart.

    The expected probabilities are those of the real Classifier on exactly the PNG files that are stored.

    Args:
        file: the finished file's bytes.
        trained: the PyTorch model, which has to agree on the samples, and the images to choose from, readable.
        rule: what is allowed.
        synthetic: draw patterns instead, so that the file holds no copy of an image.

    Raises:
        VerificationError: PyTorch does not agree, or the file does not with itself.

    """
    classifier = Classifier(file, limits=trained.route.limits)
    sources = synthetic_pictures() if synthetic else _alternating(classifier, trained.pictures)
    chosen = sample_pictures(sources, classifier.spec.preprocess)
    answers = [_answer(classifier, png) for _, png in chosen]
    expected = [probabilities for probabilities, _ in answers]
    pytorch = _apart(expected, [trained.route(png).values[PROBABILITIES] for _, png in chosen])
    images = [load_image(png) for _, png in chosen]
    harmless = _harmless_changes(file, images, expected)
    _check_agreement(pytorch, harmless, rule)
    if rule.precision is Precision.FP32:  # the others differ from PyTorch by what they store, on every machine
        harmless["PyTorch"] = pytorch
    faults = _fault_differences(file, images, expected)
    samples = tuple(
        GoldenSample(name=name, png=png, probabilities=tuple(_rounded(row)), familiarity=familiarity)
        for (name, png), (row, familiarity) in zip(chosen, answers, strict=True)
    )
    of_familiarity = None if classifier.spec.familiarity is None else rule.familiarity_tolerance
    tolerance = _tolerance(harmless, faults, rule)
    golden = GoldenSet(
        samples=samples, tolerance=tolerance, familiarity_tolerance=of_familiarity, task=classifier.spec.task
    )
    return Golden(golden, harmless, faults, pytorch, synthetic)


def _check_agreement(pytorch: float, harmless: Mapping[str, float], rule: Rule) -> None:
    if not pytorch <= rule.tolerances.get(PROBABILITIES, 1.0):
        raise VerificationError(
            f"the file differs from the trained model on its golden samples by {pytorch:.3g}, "
            f"allowed {rule.tolerances[PROBABILITIES]:g}"
        )
    name = max(harmless, key=harmless.__getitem__)
    if harmless[name] > rule.self_difference:
        raise VerificationError(
            f"inconsistent results: golden samples differ by {harmless[name]:.3g} of probability with {name}, "
            f"allowed {rule.self_difference:g}"
        )


def _alternating(classifier: Classifier, pictures: Sequence[Path]) -> list[Pixels]:
    """Some of the images, in turn one of each class that the file answers with."""
    step = max(1, len(pictures) // _CANDIDATES)
    by_label: dict[str, list[Pixels]] = defaultdict(list)
    for path in pictures[::step][:_CANDIDATES]:
        pixels = load_image(path, classifier.limits)
        by_label[classifier.classify(pixels).top[0].label].append(pixels)
    longest = max(map(len, by_label.values()))
    return [found[turn] for turn in range(longest) for found in by_label.values() if turn < len(found)]


def _harmless_changes(file: bytes, images: Sequence[Pixels], expected: Sequence[Probabilities]) -> dict[str, float]:
    plain = Session.from_bytes(file, "the exported file")
    unoptimized = Session.from_bytes(file, "the exported file", optimized=False)
    twice = [plain.run(np.stack([image, image[::-1]]), [PROBABILITIES])[0][0] for image in images]
    return {
        "one thread": _apart(expected, [_run(plain, image) for image in images]),
        "no graph optimisations": _apart(expected, [_run(unoptimized, image) for image in images]),
        "in a batch": _apart(expected, twice),
    }


def _fault_differences(file: bytes, images: Sequence[Pixels], expected: Sequence[Probabilities]) -> dict[str, float]:
    model = onnx.load_model_from_string(file)
    differences = {}
    for name, spoil in FAULTS.items():
        session = Session.from_bytes(spoil(model).SerializeToString(), name)
        differences[name] = _apart(expected, [_run(session, image) for image in images])
    return differences


def _tolerance(harmless: Mapping[str, float], faults: Mapping[str, float], rule: Rule) -> float:
    """As much leeway as still sees every fault, and never so little that harmless changes would raise an alarm."""
    wanted = min(rule.golden_tolerance, min(faults.values()) / _FAULT_MARGIN)
    least = max(_SMALLEST_TOLERANCE, rule.noise_margin * max(harmless.values()))
    return float(f"{max(wanted, least):.1g}")


def _rounded(row: Probabilities) -> list[float]:
    """Seven digits: all that float32 has, and readable."""
    return [min(1.0, float(f"{value:.7f}")) for value in row]


def _answer(classifier: Classifier, png: bytes) -> tuple[Probabilities, float | None]:
    """The probabilities, and the familiarity of a model that tells it."""
    result = classifier.classify(png, top_k=None)
    scores = {score.label: score.probability for score in result.top}
    familiarity = None if result.familiarity is None else float(f"{result.familiarity:.6f}")
    return np.array([scores[label] for label in classifier.labels]), familiarity


def _run(session: Session, image: Pixels) -> npt.NDArray[np.float32]:
    (probabilities,) = session.run(image[np.newaxis], [PROBABILITIES])
    row: npt.NDArray[np.float32] = probabilities[0]
    return row


def _apart(expected: Sequence[npt.NDArray[np.float64]], found: Sequence[npt.NDArray[np.floating]]) -> float:
    gaps = [float(np.abs(ours - theirs).max()) for ours, theirs in zip(expected, found, strict=True)]
    return max((gap if math.isfinite(gap) else 1.0) for gap in gaps)
