"""`check(model)`: the proof once more, on a finished file."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import onnx

from tl_export.errors import VerificationError
from tl_export.graph.taps import ALL_OUTPUTS
from tl_export.proof.precision import RULES, Precision, precision_of
from tl_export.proof.proof import Proof
from tl_export.proof.verify import evenly, verify
from tl_infer.model.contract import NAMES_KEY, PROBABILITIES, ModelSpec
from tl_infer.model.modelfile import read_model
from tl_infer.model.selftest import run_self_test
from tl_infer.model.session import Session
from tl_infer.results import SelfTest
from tl_infer.system.finding import find_files
from tl_train.preprocess.onnx_builder import OPSET
from tl_train.progress import Progress
from tl_train.run_folder.folder import held_out_files, load_model


@dataclasses.dataclass(frozen=True, slots=True)
class CheckResult:
    """What a finished file was found to be.

    Attributes:
        opset: of its graph.
        outputs: their names, in order.
        precision: in what numbers it keeps its network.
        golden: what came of its golden samples.
        proof: against the PyTorch model; None without a run.

    """

    opset: int
    outputs: tuple[str, ...]
    precision: Precision
    golden: SelfTest
    proof: Proof | None


def check(
    model: Path,
    run: Path | None = None,
    *,
    images: Sequence[Path] = (),
    verify_count: int | None = None,
    progress: Progress | None = None,
) -> CheckResult:
    """Prove a finished file again, on this machine.

    Args:
        model: the file.
        run: the run that it was exported from; without it, the structure and the golden samples are all there is.
        images: pictures and folders to compare on; the run's held-out pictures when empty.
        verify_count: compare on that many of them, spread over all; on all for None.
        progress: how to show what goes on; silent when None.

    Raises:
        TlError: not a file of ours, its structure is not what the contract says, a golden sample or a stage differs;
            names it.

    """
    opened = read_model(model)
    data, where = opened.data, opened.where
    session = Session(opened, threads=1)  # inputs, outputs and spec fit each other, or this raises
    graph = onnx.load_model_from_string(data)  # the session has read it already, so it is whole
    opset = _check_structure(graph, session.spec, where)
    golden = run_self_test(session, where)
    precision = precision_of(graph)
    outputs = tuple(output.name for output in graph.graph.output)
    proof = None if run is None else _prove(data, precision, run, images, verify_count, progress or Progress())
    return CheckResult(opset, outputs, precision, golden, proof)


def _check_structure(model: onnx.ModelProto, spec: ModelSpec, where: str) -> int:
    """The promises of docs/model-file.md that the runtime does not look at; returns the opset."""
    opsets = [(opset.domain, opset.version) for opset in model.opset_import]
    _expect(opsets == [("", OPSET)], where, f"opset imports {opsets}", f"one, of version {OPSET}")
    external = [tensor.name for tensor in model.graph.initializer if tensor.external_data]
    _expect(not external, where, f"weights outside the file ({', '.join(external[:3])})", "all inside")
    stale = [value.name for value in model.graph.value_info]
    _expect(not stale, where, f"value_info ({', '.join(stale[:3])})", "none, some importers refuse it")
    outputs = [output.name for output in model.graph.output]
    in_order = [name for name in ALL_OUTPUTS if name in outputs]
    _expect(outputs == in_order and outputs[:1] == [PROBABILITIES], where, f"outputs {outputs}", f"of {ALL_OUTPUTS}")
    names = {str(place): label for place, label in enumerate(spec.labels)}
    found = _metadata(model).get(NAMES_KEY, "")
    _expect(found == json.dumps(names, ensure_ascii=False), where, f"{NAMES_KEY} {found[:60]}", "the labels of tl.spec")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise VerificationError(f"{where}: not valid ONNX: {str(error).strip().splitlines()[0][:200]}") from error
    return OPSET


def _expect(holds: bool, where: str, found: str, expected: str) -> None:
    if not holds:
        raise VerificationError(f"{where}: found {found}, expected {expected}; export it again with tl-export")


def _metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def _prove(
    data: bytes, precision: Precision, run: Path, images: Sequence[Path], count: int | None, progress: Progress
) -> Proof:
    network, spec, _ = load_model(run)
    pictures = evenly(find_files(images) if images else held_out_files(run), count)
    return verify(network, spec, data, pictures, progress, rule=RULES[precision])
