"""The proof: the PyTorch model against the real Classifier, on picture files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tl_export.errors import VerificationError
from tl_infer.classifier import Classifier
from tl_infer.contract import ModelSpec, ParitySummary
from tl_infer.errors import ImageError
from tl_infer.images import load_image
from tl_train.preprocess import Preprocessor
from tl_train.progress import Progress

# Both sides compute in float32 but sum in different orders. Over networks of a few hundred layers this moved a
# probability by 1e-6 to 1e-5; a real fault (a wrong mean, swapped channels) moves it by 1e-2 and more.
MAX_PROBABILITY_DIFFERENCE = 1e-4


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """How far the two sides are apart on one picture.

    Attributes:
        path: the picture.
        torch_label, file_label: top-1 of the PyTorch model and of the file.
        probability: the largest absolute difference of any class.
        worst_label: the class where it is.
        torch_probability, file_probability: what the two sides say of that class.

    """

    path: Path
    torch_label: str
    file_label: str
    probability: float
    worst_label: str
    torch_probability: float
    file_probability: float

    def __str__(self) -> str:
        return (
            f"{self.path}: PyTorch says {self.torch_label}, the file says {self.file_label}; largest difference "
            f"{self.probability:.3g} at '{self.worst_label}' ({self.torch_probability:.6f} against "
            f"{self.file_probability:.6f}), allowed {MAX_PROBABILITY_DIFFERENCE:g}"
        )


def verify(
    model: nn.Module, spec: ModelSpec, file: bytes, pictures: Sequence[Path], progress: Progress
) -> ParitySummary:
    """Hold the file's bytes against the model they came from.

    Both sides start from the picture file. The PyTorch side runs the preprocessing graph by itself and the network in
    PyTorch; the other side is the Classifier that users run.

    Args:
        model: the trained network, normalised tensor -> logits.
        spec: what the run says of the model; labels and temperature of the PyTorch side.
        file: the bytes that would be written.
        pictures: picture files, one or more.
        progress: shows the pictures done.

    Raises:
        VerificationError: top-1 or probabilities differ, the labels differ, or there is nothing to compare on; names
            the worst picture and its values.

    """
    classifier = Classifier(file)
    if classifier.labels != spec.labels:
        raise VerificationError(f"the file's labels are {classifier.labels}, the run's are {spec.labels}")
    preprocessor = Preprocessor(spec.preprocess)
    differences = []
    for path in progress.steps(pictures, "Verifying", len(pictures)):
        try:
            expected = _torch_probabilities(model, preprocessor, path, spec.temperature)
            scores = classifier.classify(path, top_k=None).top
        except ImageError as error:
            raise VerificationError(
                f"{error}; cannot verify on this file; give other pictures with --images"
            ) from error
        found = {score.label: score.probability for score in scores}
        differences.append(_difference(path, spec.labels, expected, found, scores[0].label))
    if not differences:
        raise VerificationError("there are no pictures to verify on; give some with --images")
    return _judge(differences)


def _torch_probabilities(
    model: nn.Module, preprocessor: Preprocessor, path: Path, temperature: float
) -> npt.NDArray[np.float32]:
    tensor = torch.from_numpy(preprocessor(load_image(path))[np.newaxis])
    with torch.inference_mode():
        logits = model.eval()(tensor)
        probabilities: npt.NDArray[np.float32] = torch.softmax(logits / temperature, dim=1)[0].numpy()
    return probabilities


def _difference(
    path: Path, labels: Sequence[str], expected: npt.NDArray[np.float32], found: dict[str, float], file_label: str
) -> Difference:
    values = np.array([found[label] for label in labels])
    gaps = np.abs(values - expected)
    worst = int(np.argmax(gaps))
    return Difference(
        path=path,
        torch_label=labels[int(np.argmax(expected))],
        file_label=file_label,
        probability=float(gaps[worst]),
        worst_label=labels[worst],
        torch_probability=float(expected[worst]),
        file_probability=float(values[worst]),
    )


def _judge(differences: Sequence[Difference]) -> ParitySummary:
    agreeing = sum(difference.torch_label == difference.file_label for difference in differences)
    worst = max(differences, key=lambda d: (d.torch_label != d.file_label, d.probability))
    if agreeing < len(differences) or worst.probability > MAX_PROBABILITY_DIFFERENCE:
        raise VerificationError(
            f"the exported model differs from the trained one on {len(differences)} pictures "
            f"({agreeing} with the same top-1), so no file was written. Worst: {worst}"
        )
    return ParitySummary(
        pictures=len(differences),
        top1_agreement=agreeing / len(differences),
        max_probability_difference=worst.probability,
    )
