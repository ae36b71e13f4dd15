"""`add_class`: a finished run with one class more, from a few images, and what the old classes lose by it."""

import copy
import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tl_export.adding.discriminant import Floats, KnownClasses, fit_row
from tl_export.adding.new_images import NewImages
from tl_export.errors import ExportError
from tl_export.proof.routes import TorchRoute
from tl_export.proof.trained import Trained
from tl_export.run_pictures import run_dataset
from tl_infer.images import load_image
from tl_infer.model.contract import ModelSpec
from tl_train.data.dataset import Dataset, fingerprint
from tl_train.data.samples import Sample
from tl_train.errors import DataError, RunError
from tl_train.evaluation.answers import Answers
from tl_train.evaluation.metrics import Evaluation, measurements
from tl_train.head.features import BackboneFeatures, CachedPart, part_of
from tl_train.models.network import Network
from tl_train.models.new_head import AppendedHead, add_rows, new_head
from tl_train.models.starting_weights import LoadedWeights
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress


@dataclasses.dataclass(frozen=True, slots=True)
class OldClass:
    """One of the classes that were there, on the held-out images of the run.

    Attributes:
        label: its name.
        images: held-out images of it.
        correct: of these, right before the class was added.
        correct_now: right with it.
        taken: of these, now answered with the new class.

    """

    label: str
    images: int
    correct: int
    correct_now: int
    taken: int


@dataclasses.dataclass(frozen=True, slots=True)
class AddedClass:
    """What came of adding a class.

    Attributes:
        name: of the class.
        images: different images that it was made from.
        recognised: of these, how many are answered with it when it is made from the others.
        part: the held-out part of the run: `test` or `val`.
        old: the other classes on that part.

    """

    name: str
    images: int
    recognised: int
    part: str
    old: tuple[OldClass, ...]

    @property
    def held_out(self) -> int:
        """Held-out images, all of old classes."""
        return sum(row.images for row in self.old)

    @property
    def accuracy(self) -> float:
        """Of the held-out images before, 0..1."""
        return sum(row.correct for row in self.old) / max(1, self.held_out)

    @property
    def accuracy_now(self) -> float:
        """Of the held-out images with the class, 0..1."""
        return sum(row.correct_now for row in self.old) / max(1, self.held_out)

    def losing(self) -> list[OldClass]:
        """The old classes that fewer images are right of than before, the greatest loss first."""
        rows = [row for row in self.old if row.correct_now < row.correct]
        return sorted(rows, key=lambda row: row.correct_now - row.correct)

    def document(self) -> dict[str, object]:
        """What goes into the parity file."""
        return {**dataclasses.asdict(self), "accuracy": self.accuracy, "accuracy_now": self.accuracy_now}


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Extended:
    """A run with one class more.

    Attributes:
        trained: its network and spec have the class, its images those of the class.
        added: what came of it.
        held_out: what is measured on the run's held-out images, as metrics.json has it; empty where none are.

    """

    trained: Trained
    added: AddedClass
    held_out: Mapping[str, object]


def add_class(trained: Trained, name: str, folder: str | os.PathLike[str], progress: Progress) -> Extended:
    """Add a class to a run by linear discriminant analysis of its embeddings; see `fit_row`.

    Args:
        trained: the run; it stays as it is.
        name: of the class; it becomes the last one.
        folder: its images, `MIN_IMAGES` or more.
        progress: shows what goes on.

    Raises:
        TlError: the images or the name cannot be used, the images that the run was trained on have changed or may have
            several labels.

    """
    if trained.spec.task == "multi":
        raise ExportError(f"{trained.run}: its images may have several labels, and a class can only be added to a "
                          "model that gives one; train again with the new label")  # fmt: skip
    route = trained.route
    new = NewImages.read(name, Path(folder), route.spec.labels, route.limits, progress)
    embed = _Embedding(route, progress)
    dataset = _dataset(trained, embed.features, progress)
    new.check_apart_from(dataset)
    fitted = fit_row(_known(route, embed.of(dataset, dataset.train)), embed.of_images(new))
    row = fitted.row
    model = copy.deepcopy(route.model)
    add_rows(model, route.architecture, torch.from_numpy(row.weight[None]), torch.tensor([row.bias]))
    spec = _spec(route.spec, new)
    part, samples = dataset.held_out()
    answers = _answers(embed.of(dataset, samples), new_head(model, route.architecture)) if samples else None
    added = AddedClass(new.name, len(new.files), fitted.recognised, part, _old_classes(answers, spec.labels))
    if answers is not None:
        spec = dataclasses.replace(spec, metrics={**spec.metrics, f"{part}_accuracy": added.accuracy_now})
    extended = TorchRoute(model, spec, route.architecture, route.limits)
    held_out = measurements(Evaluation(part, answers, spec.temperature), spec.labels) if answers else {}
    return Extended(Trained(trained.run, extended, [*trained.pictures, *new.files]), added, held_out)


class _Embedding:
    """What the last linear layer of a run's network is given, for images of its data set and for others."""

    def __init__(self, route: TorchRoute, progress: Progress) -> None:
        network = Network(route.model, route.architecture, LoadedWeights(route.spec.weights))
        self.features = BackboneFeatures.of(network, Preprocessor(route.spec.preprocess), progress)
        head = route.model.get_submodule(route.architecture.head)
        self._before = head[0] if isinstance(head, AppendedHead) else nn.Identity()
        self._limits, self._progress = route.limits, progress

    def of(self, dataset: Dataset, samples: Sequence[Sample]) -> CachedPart:
        part = part_of(dataset, samples)
        return CachedPart(self._behind(part.features), part.labels)

    def of_images(self, new: NewImages) -> Floats:
        files = self._progress.steps(new.files, "Embedding the new class", len(new.files))
        rows = [self.features(load_image(file, self._limits)) for file in files]
        return self._behind(np.stack(rows)).astype(np.float64)

    def _behind(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            found: npt.NDArray[np.float32] = self._before(torch.from_numpy(features)).numpy()
        return found


def _dataset(trained: Trained, features: BackboneFeatures, progress: Progress) -> Dataset:
    """The data set of the run, with features.

    Raises:
        ExportError: it is not what the run was trained on any more.

    """
    try:
        dataset = run_dataset(trained.run, progress, features)
    except (DataError, RunError) as error:
        raise ExportError(f"add_class needs the images that the run was trained on: {error}") from error
    if fingerprint(dataset) != trained.spec.data_fingerprint:
        raise ExportError(
            f"{trained.run}: the images or their labels have changed since the training, and add_class needs those "
            "that the head was fitted on; train again with tl-train"
        )
    return dataset


def _known(route: TorchRoute, train: CachedPart) -> KnownClasses:
    head = new_head(route.model, route.architecture)
    weight, bias = (tensor.detach().double().numpy() for tensor in (head.weight, head.bias))
    return KnownClasses(train.features.astype(np.float64), train.labels, weight, bias)


def _answers(part: CachedPart, head: nn.Linear) -> Answers:
    with torch.inference_mode():
        return Answers(head(torch.from_numpy(part.features)).numpy(), part.labels)


def _old_classes(answers: Answers | None, labels: tuple[str, ...]) -> tuple[OldClass, ...]:
    """The old classes; the new one is the last of `labels`."""
    if answers is None:
        return ()
    before, now, truth = answers.logits[:, :-1].argmax(axis=1), answers.logits.argmax(axis=1), answers.truth
    rows = []
    for label, name in enumerate(labels[:-1]):
        of_class = truth == label
        rows.append(
            OldClass(
                label=name,
                images=int(of_class.sum()),
                correct=int((before[of_class] == label).sum()),
                correct_now=int((now[of_class] == label).sum()),
                taken=int((now[of_class] == len(labels) - 1).sum()),
            )
        )
    return tuple(rows)


def _spec(spec: ModelSpec, new: NewImages) -> ModelSpec:
    """The run's, with the class; its fingerprint is of the training images and the new ones.

    To the run's familiarity, which knows its training images only, images of the class would be unknown ones.
    """
    digest = hashlib.sha256(f"{spec.data_fingerprint} {new.name!r} ".encode())
    for checksum in new.checksums:
        digest.update(checksum)
    labels = (*spec.labels, new.name)
    return dataclasses.replace(spec, labels=labels, data_fingerprint=digest.hexdigest(), familiarity=None)
