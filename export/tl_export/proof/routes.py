"""The two routes from an image file to its label that the proof compares: PyTorch, and the finished file."""

import copy
import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from tl_export.errors import VerificationError
from tl_export.graph.taps import find_taps, tapped
from tl_export.proof.decisions import decision_of
from tl_export.proof.stages import DECODE, TENSOR, Answer
from tl_infer.classifier import Classifier
from tl_infer.images import Pixels, load_image
from tl_infer.limits import DEFAULT_LIMITS, Limits
from tl_infer.model.contract import EMBEDDING, FAMILIARITY, HEATMAP, LOGITS, PROBABILITIES, ModelSpec
from tl_infer.model.session import Session
from tl_train.familiarity.score import Familiarity
from tl_train.models.architectures import Architecture
from tl_train.preprocess.graph import TENSOR_NAME, Preprocessor


class TorchRoute:
    """Image file -> decoder -> the preprocessing graph by itself -> the network in PyTorch; thread-safe.

    Attributes:
        model: the trained network in evaluation mode, normalised tensor -> logits.
        spec: what the run says of it.
        architecture: of the network.
        taps: where the network's inner values are taken.
        limits: what decoding an image may take, and how 16-bit images are scaled, as in training.
        familiarity: what tells how familiar an image is; None where the run has nothing that does.
        decision: how probabilities become labels.

    """

    def __init__(
        self,
        model: nn.Module,
        spec: ModelSpec,
        architecture: Architecture,
        limits: Limits = DEFAULT_LIMITS,
        familiarity: Familiarity | None = None,
    ) -> None:
        """Take a run's network, as `RunFolder.load_model` gives it, and run it once to find its taps."""
        self.limits = limits
        self.familiarity = familiarity
        self.model = model.eval()
        self.spec = spec
        self.architecture = architecture
        self.decision = decision_of(spec)
        self.taps = find_taps(self.model, architecture, spec.preprocess.size)
        self._preprocessor = Preprocessor(spec.preprocess)
        self._of_thread = threading.local()

    def __call__(self, picture: Path | bytes) -> Answer:
        """The answer to one image file, at every stage.

        Raises:
            ImageError: it cannot be read.

        """
        pixels = load_image(picture, self.limits)
        tensor = self._preprocessor(pixels)
        values: dict[str, npt.NDArray[Any]] = {DECODE: pixels, TENSOR: tensor}
        values.update(self.network(torch.from_numpy(tensor)))
        return Answer(values, self.decision.labels(values[PROBABILITIES]))

    def network(self, tensor: torch.Tensor) -> dict[str, npt.NDArray[np.float32]]:
        """What the network makes of one normalised image (3, h, w)."""
        model = self._model_of_thread()
        with torch.inference_mode():
            with tapped(model, self.taps) as inner:
                logits = model(tensor[None])
            values = {LOGITS: logits, EMBEDDING: inner[EMBEDDING]}
            values[PROBABILITIES] = self._probabilities(logits)
            if self.taps.feature_map is not None:
                # Not the way the file does it: the head itself, position by position, layer after layer.
                positions = inner["feature_map"].flatten(2).transpose(1, 2)
                head = model.get_submodule(self.architecture.head)
                values[HEATMAP] = head(positions).transpose(1, 2).unflatten(2, inner["feature_map"].shape[2:])
        found = {name: value[0].numpy() for name, value in values.items()}
        if self.familiarity is not None:
            shares = self.familiarity(found[EMBEDDING][np.newaxis], found[LOGITS][np.newaxis])
            found[FAMILIARITY] = shares[0].astype(np.float32)
        return found

    def _model_of_thread(self) -> nn.Module:
        """The thread's own modules, as taps hook into modules; all have the same weights."""
        if not hasattr(self._of_thread, "model"):
            weights = [*self.model.parameters(), *self.model.buffers()]
            self._of_thread.model = copy.deepcopy(self.model, {id(tensor): tensor for tensor in weights})
        return cast("nn.Module", self._of_thread.model)

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        if self.spec.temperatures is None:
            return torch.softmax(logits / self.spec.temperature, dim=1)
        return torch.sigmoid(logits / torch.tensor(self.spec.temperatures))


class FileRoute:
    """Image file -> the real Classifier on the finished file's bytes; thread-safe, each image on one processor.

    A second session runs a copy of the file, in memory, whose preprocessed tensor is an output too.
    """

    def __init__(self, file: bytes, limits: Limits = DEFAULT_LIMITS) -> None:
        """Open the file.

        Args:
            file: its bytes, which say themselves how many bits 16-bit images use.
            limits: what decoding an image may take.

        Raises:
            ModelFileError: not made by tl-export, or damaged.
            VerificationError: its graph has no preprocessed tensor to look at.

        """
        self.classifier = Classifier(file, threads=1, limits=dataclasses.replace(limits, bit_depth=None))
        self.outputs, probe = _with_inner_outputs(file)
        self._probe = Session.from_bytes(probe, "the exported file")
        self._unoptimized = Session.from_bytes(file, "the exported file, not optimised", optimized=False)

    def __call__(self, picture: Path | bytes) -> Answer:
        """The answer to one image file, at every stage.

        Raises:
            ImageError: it cannot be read.
            ModelFileError: the graph failed.

        """
        pixels = load_image(picture, self.classifier.limits)
        results = self._probe.run(pixels[np.newaxis], self.outputs)
        values: dict[str, npt.NDArray[Any]] = {DECODE: pixels}
        values.update((name, result[0]) for name, result in zip(self.outputs, results, strict=True))
        # What users get takes the place of what the copy said.
        result = self.classifier.classify(picture, top_k=None)
        scores = result.top
        by_label = {score.label: score.probability for score in scores}
        values[PROBABILITIES] = np.array([by_label[label] for label in self.classifier.labels])
        if result.familiarity is not None:
            values[FAMILIARITY] = np.array(result.familiarity)
        return Answer(values, (scores[0].label,) if result.several is None else result.several)

    def probabilities(self, images: Pixels, *, optimized: bool = True) -> npt.NDArray[np.float32]:
        """Probabilities (N, C) of images of one size, uint8 (N, H, W, 3), in one call."""
        session = self._probe if optimized else self._unoptimized
        (probabilities,) = session.run(images, [PROBABILITIES])
        return probabilities


def _with_inner_outputs(file: bytes) -> tuple[Sequence[str], bytes]:
    """The names of the stages' outputs, and a copy of the file that has them all."""
    model = onnx.load_model_from_string(file)
    computed = {name for node in model.graph.node for name in node.output}
    outputs = {output.name: output for output in model.graph.output}
    for name in (TENSOR_NAME, LOGITS):
        if name not in computed:
            raise VerificationError(f"the file computes no value '{name}'; expected a file that tl-export wrote")
    model.graph.output.append(helper.make_tensor_value_info(TENSOR_NAME, TensorProto.FLOAT, None))
    if LOGITS not in outputs:
        model.graph.output.append(outputs[PROBABILITIES])  # as a copy, of the same type and shape
        model.graph.output[-1].name = LOGITS
    inner = (TENSOR_NAME, LOGITS, *(name for name in (EMBEDDING, HEATMAP) if name in outputs))
    return inner, model.SerializeToString()
