"""The models of the service: opened, tried on their golden samples, and replaced by newer files without a pause."""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tl_infer.classifier import Classifier
from tl_infer.errors import TlError
from tl_infer.limits import Limits
from tl_infer.results import SelfTest


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """A model that may answer: its golden samples passed on this machine.

    Attributes:
        name: the file's name without its suffix.
        classifier: for many threads, each with one image.
        tested: what the golden samples came to.
        embedding_values: how many values an embedding has; 0 if the model gives none.

    """

    name: str
    classifier: Classifier
    tested: SelfTest
    embedding_values: int

    @property
    def version(self) -> str:
        """The first digits of the file's SHA-256."""
        return self.classifier.sha256[:12]


@dataclasses.dataclass(frozen=True, slots=True)
class Reload:
    """What became of one file when it was read again.

    Attributes:
        name: of the model.
        version: that answers from now on.
        outcome: `replaced`, `unchanged` or `refused`.
        error: why it was refused; the earlier one goes on.

    """

    name: str
    version: str
    outcome: str
    error: str | None = None


class Models:
    """The models by name. Reading one is thread-safe; reloading is for one thread at a time."""

    def __init__(self, paths: Sequence[Path], limits: Limits) -> None:
        """Open all files.

        Raises:
            TlError: a file is no model, its golden samples failed or are missing, or no image can be decoded here.

        """
        self._paths = {path.stem: path for path in paths}
        self._limits = limits
        self._models = {name: self._open(name) for name in self._paths}

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of the command line."""
        return tuple(self._models)

    def get(self, name: str) -> Model | None:
        """The model of this name as it is now; whoever holds it can go on with it after a reload."""
        return self._models.get(name)

    def all(self) -> tuple[Model, ...]:
        """All models as they are now."""
        return tuple(self._models.values())

    def reload(self) -> list[Reload]:
        """Read all files again; a new one answers only once its golden samples passed, else the earlier one goes on.

        An earlier model is not closed, as requests may still hold it: it is freed with the last of them.
        """
        return [self._reload(name) for name in self.names]

    def close(self) -> None:
        """End the processes of all models."""
        for model in self._models.values():
            model.classifier.close()

    def _reload(self, name: str) -> Reload:
        now = self._models[name]
        try:
            new = self._open(name)
        except TlError as error:
            return Reload(name, now.version, "refused", str(error))
        if new.classifier.sha256 == now.classifier.sha256:
            new.classifier.close()
            return Reload(name, now.version, "unchanged")
        self._models[name] = new
        return Reload(name, new.version, "replaced")

    def _open(self, name: str) -> Model:
        # One thread in the network: it is the images that run beside each other.
        classifier = Classifier(self._paths[name], threads=1, limits=self._limits)
        try:
            tested = classifier.self_test()
            # From here on decoding works, in a process of its own if so wanted.
            answer = classifier.classify(_tiny_image(), embedding=classifier.has_embedding)
        except BaseException:
            classifier.close()
            raise
        return Model(name, classifier, tested, 0 if answer.embedding is None else len(answer.embedding))


def _tiny_image() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (128, 128, 128)).save(buffer, "PNG")
    return buffer.getvalue()
