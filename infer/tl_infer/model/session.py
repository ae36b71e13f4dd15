"""An open model: its metadata checked, pixels in, arrays out."""

from collections.abc import Callable, Sequence
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from tl_infer.errors import ModelFileError, first_line
from tl_infer.model.answers import wrong_answer
from tl_infer.model.at_exit import finished_at_exit
from tl_infer.model.contract import (
    EMBEDDING,
    FAMILIARITY,
    HEATMAP,
    INPUT_NAME,
    LOGITS,
    PROBABILITIES,
    SPEC_KEY,
    ModelSpec,
    read_bit_depth,
)
from tl_infer.model.golden import GOLDEN_KEY, GoldenSet
from tl_infer.model.modelfile import ModelFile
from tl_infer.model.opening import CPU, open_session

# The contract's outputs, in its order.
_FORMS = {
    PROBABILITIES: "[N, C]", LOGITS: "[N, C]", EMBEDDING: "[N, D]", HEATMAP: "[N, C, h, w]", FAMILIARITY: "[N]",
}  # fmt: skip
_BY_CLASS = (PROBABILITIES, LOGITS, HEATMAP)

_Given = TypeVar("_Given")
_Parsed = TypeVar("_Parsed")


class Session:
    """An open model: pixels in, arrays out.

    Attributes:
        spec: what the file says about itself, checked against its inputs and outputs.
        outputs: names of the contract's outputs that the file has.
        golden: its golden samples; None if it has none.
        bit_depth: the bits that its 16-bit images use; None for all.
        embedding_columns: how many values an embedding has, as the first answer had them; None before it.

    """

    def __init__(
        self, model: ModelFile, threads: int, providers: Sequence[str] = (CPU,), *, optimized: bool = True
    ) -> None:
        """Open a model.

        Args:
            model: the file.
            threads: onnxruntime's intra-op threads; 1 if several Python threads share this session.
            providers: as `check_providers` returns them.
            optimized: let onnxruntime rewrite the graph; tl-export compares both.

        Raises:
            ModelFileError: damaged, not made by tl-export, or its spec does not fit its outputs.
            ProviderError: a provider is not installed or does not start.

        """
        self._where = model.where
        self._session = open_session(model, threads, providers, optimized)
        metadata = self._read_metadata()
        self.spec = self._parsed(ModelSpec.from_json, metadata[SPEC_KEY])
        self.bit_depth = self._parsed(read_bit_depth, metadata)
        self.golden: GoldenSet | None = None
        if GOLDEN_KEY in metadata:
            self.golden = self._parsed(self._golden, metadata[GOLDEN_KEY])
        self.outputs = self._check_signature()
        self.embedding_columns: int | None = None
        # Outputs that were not asked for are not computed.
        self._run_options = ort.RunOptions()
        self._run_options.only_execute_path_to_fetches = True
        self._run_options.log_severity_level = 4

    @classmethod
    def from_bytes(cls, data: bytes, where: str, threads: int = 1, *, optimized: bool = True) -> Self:
        """Open a model that is in memory, on the CPU.

        Args:
            data: the whole file.
            where: what to call it in messages.
            threads: as for `Session`.
            optimized: as for `Session`.

        Raises:
            ModelFileError: as for `Session`.

        """
        return cls(ModelFile(data, where), threads, optimized=optimized)

    def run(self, images: npt.NDArray[np.uint8], outputs: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """Run images of one size; thread-safe.

        Args:
            images: uint8 (N, H, W, 3), RGB.
            outputs: names of outputs that the file has.

        Returns:
            One float32 array per name, first axis N.

        Raises:
            ModelFileError: the graph failed, or an output has the wrong shape or values that are not finite or not
                probabilities.

        """
        try:
            with finished_at_exit():
                results: list[npt.NDArray[np.float32]] = self._session.run(
                    list(outputs), {INPUT_NAME: images}, self._run_options
                )
        except Exception as error:
            raise ModelFileError(f"{self._where}: the model failed: {first_line(error)}") from error
        for name, values in zip(outputs, results, strict=True):
            columns = self.embedding_columns if name == EMBEDDING else len(self.spec.labels)
            columns = None if name == FAMILIARITY else columns
            if problem := wrong_answer(name, values, len(images), columns, self.spec.task):
                raise ModelFileError(f"{self._where}: output '{name}' {problem}")
            if name == EMBEDDING:
                self.embedding_columns = values.shape[1]
        return results

    def check_answers(self, image: npt.NDArray[np.uint8]) -> None:
        """Run one image (H, W, 3) and check every output against the contract; what a file declares can be untrue.

        Raises:
            ModelFileError: as for `run`.

        """
        self.run(image[np.newaxis], self.outputs)

    def _read_metadata(self) -> dict[str, str]:
        try:
            metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise ModelFileError(
                f"{self._where}: the metadata is not valid UTF-8; export the model again with tl-export"
            ) from error
        if SPEC_KEY not in metadata:
            raise ModelFileError(
                f"{self._where}: an ONNX file without '{SPEC_KEY}', so not made by tl-export; "
                "expected a file that it wrote"
            )
        return metadata

    def _parsed(self, parse: Callable[[_Given], _Parsed], given: _Given) -> _Parsed:
        try:
            return parse(given)
        except ModelFileError as error:
            raise ModelFileError(f"{self._where}: {error}") from error

    def _golden(self, text: str) -> GoldenSet:
        return GoldenSet.from_json(text, len(self.spec.labels), self.spec.familiarity is not None, self.spec.task)

    def _declared(self) -> tuple[dict[str, tuple[str, list[int | str | None]]], ...]:
        """Type and shape of each input and each output, by name."""
        try:
            return tuple(
                {node.name: (node.type, node.shape) for node in nodes}
                for nodes in (self._session.get_inputs(), self._session.get_outputs())
            )
        except UnicodeDecodeError as error:
            raise ModelFileError(f"{self._where}: damaged: a name is not valid UTF-8") from error

    def _check_signature(self) -> tuple[str, ...]:
        """Check the file's inputs and outputs against the contract and the labels."""
        inputs, outputs = self._declared()
        kind, shape = inputs.get(INPUT_NAME, ("nothing", []))
        if len(inputs) != 1 or kind != "tensor(uint8)" or len(shape) != 4 or shape[3] != 3:
            raise ModelFileError(f"{self._where}: inputs {inputs}, expected one '{INPUT_NAME}' of uint8 [N, H, W, 3]")
        # Before version 2 a name that is not the contract's means nothing.
        known = [name for name in _FORMS if name != FAMILIARITY or self.spec.familiarity is not None]
        for name in known:
            if name not in (PROBABILITIES, FAMILIARITY) and name not in outputs:
                continue  # tl-export --outputs may have left it out
            kind, shape = outputs.get(name, ("nothing", []))
            if kind != "tensor(float)" or len(shape) != _rank(name):
                raise ModelFileError(
                    f"{self._where}: output '{name}' is {kind} {shape}, expected float32 {_FORMS[name]}"
                )
            if name in _BY_CLASS and shape[1] != len(self.spec.labels):
                raise ModelFileError(
                    f"{self._where}: {len(self.spec.labels)} labels but output '{name}' has {shape[1]} columns; "
                    "export the model again with tl-export"
                )
        return tuple(name for name in known if name in outputs)


def _rank(output: str) -> int:
    return _FORMS[output].count(",") + 1
