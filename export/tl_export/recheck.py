"""`check(model)`: the proof once more, on a finished file."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import onnx

from tl_export.adding.added_class import add_class as extend
from tl_export.companions import check_companions
from tl_export.errors import VerificationError
from tl_export.options import ALL_OUTPUTS, Precision
from tl_export.proof.coherence import Coherence
from tl_export.proof.precision import OF_INT8, RULES, Rule, precision_of
from tl_export.proof.routes import FileRoute
from tl_export.proof.trained import Trained
from tl_export.proof.verify import verify
from tl_export.results import CheckResult
from tl_export.run_pictures import held_out_pictures
from tl_export.smaller.held_out import held_out_answers
from tl_export.smaller.judged import own_metrics
from tl_infer.errors import first_line
from tl_infer.model.contract import NAMES_KEY, PROBABILITIES, ModelSpec
from tl_infer.model.golden import GOLDEN_KEY
from tl_infer.model.modelfile import ModelFile, read_model
from tl_infer.model.selftest import run_self_test
from tl_infer.model.session import Session
from tl_train.preprocess.onnx_builder import OPSET
from tl_train.progress import Progress

# Other processors have other instructions for int8. With the runtime's optimisations off, which stands for them, the
# accuracy of 3 files (Lite0, 153 to 372 images) moved by up to 0.008, the log-loss by up to 0.0006; of few images one
# or two weigh more.
_OWN_METRICS_APART = 0.02
_OWN_METRICS_IMAGES = 2


def check(
    model: str | os.PathLike[str],
    run: str | os.PathLike[str] | None = None,
    *,
    images: Sequence[str | os.PathLike[str]] = (),
    verify_count: int | None = None,
    add_class: tuple[str, str | os.PathLike[str]] | None = None,
    progress: Progress | None = None,
) -> CheckResult:
    """Prove a finished file again, on this machine.

    Args:
        model: the file.
        run: the run that it was exported from; without it, only the structure and the golden samples are checked.
        images: image files and folders to compare on; the run's held-out images when empty.
        verify_count: compare on that many of them, evenly spread; on all for None.
        add_class: the name and folder of the class that was added to the run in the export.
        progress: shows what goes on; silent when None.

    Raises:
        TlError: not a file of tl-export, its structure is not what the contract says, a golden sample or a stage
            differs; names it.

    """
    opened = read_model(model)
    session = Session(opened, threads=1)  # inputs, outputs and spec fit each other, or this raises
    graph = onnx.load_model_from_string(opened.data)  # the session has read it already, so it is whole
    _check_structure(graph, session.spec, opened.where)
    companions = check_companions(Path(model), opened.sha256)
    golden = run_self_test(session, opened.where)
    precision = precision_of(graph)
    _check_golden(session, opened, RULES[precision])
    proof = None
    if run is not None:
        _refuse_earlier_resize(graph, opened.where)
        trained, progress = Trained.load(Path(run), images, verify_count), progress or Progress()
        if add_class is not None:
            trained = extend(trained, *add_class, progress).trained
        _check_class_count(session.spec, trained.spec, opened.where)
        proof = verify(trained, opened.data, progress, RULES[precision])
        if precision is Precision.INT8 and not images and verify_count is None:
            _check_own_metrics(session.spec, opened, trained)
    return CheckResult(OPSET, tuple(output.name for output in graph.graph.output), precision, golden, companions, proof)


def _check_golden(session: Session, opened: ModelFile, rule: Rule) -> None:
    """What the self-test does not see: tolerances wider than an export gives, and parts that contradict each other."""
    golden = session.golden
    assert golden is not None, "the self-test has run"
    of_familiarity = golden.familiarity_tolerance or 0.0
    for name, found, most in (
        ("tolerance", golden.tolerance, rule.most_golden_tolerance),
        ("familiarity_tolerance", of_familiarity, rule.familiarity_tolerance),
    ):
        _expect(found <= most, opened.where, f"{GOLDEN_KEY}: {name} {found:g}", f"{most:g} or less")
    route, coherence = FileRoute(opened.data), Coherence(session.spec, rule)
    for sample in golden.samples:
        coherence.add(f"golden sample '{sample.name}'", route(sample.png))
    try:
        coherence.check()
    except VerificationError as error:
        raise VerificationError(f"{opened.where}: {error}") from error


def _check_own_metrics(spec: ModelSpec, opened: ModelFile, trained: Trained) -> None:
    """Whether an int8 file's own accuracy and log-loss come out again; they also show a change of its temperature."""
    judged = held_out_answers(opened.data, held_out_pictures(trained.run), trained.route.limits).judged
    found = own_metrics(judged.metric, judged.score, float(judged.log_losses.mean()))
    said = {name: value for name, value in spec.metrics.items() if name.startswith(OF_INT8)}
    allowed = _OWN_METRICS_APART + _OWN_METRICS_IMAGES / len(judged)
    near = said.keys() == found.keys() and all(abs(said[name] - found[name]) <= allowed for name in said)
    _expect(near, opened.where, f"metrics {said}", f"{found}, as on the run's held-out images here")


def _check_class_count(found: ModelSpec, expected: ModelSpec, where: str) -> None:
    """Answers of different length cannot be compared; other names are found by the proof."""
    if len(found.labels) != len(expected.labels):
        raise VerificationError(
            f"{where}: found the classes {found.labels}, expected {expected.labels}, the run's; give the run that the "
            "file was made from, and --add-class if it was exported with that"
        )


def _check_structure(model: onnx.ModelProto, spec: ModelSpec, where: str) -> None:
    """Check the promises of docs/model-file.md that the runtime does not look at."""
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
        raise VerificationError(f"{where}: not valid ONNX: {first_line(error)}") from error


def _refuse_earlier_resize(model: onnx.ModelProto, where: str) -> None:
    """Files of version 0.1 and before resize within a grey level of ours, but a proof compares exactly."""
    if any(node.op_type == "If" and node.name == "preprocess/resized" for node in model.graph.node):
        raise VerificationError(
            f"{where}: its golden samples are right, but it cannot be compared with the run any more: it was exported "
            "by an earlier version, which rounds the resized image differently; export it again with tl-export"
        )


def _expect(holds: bool, where: str, found: str, expected: str) -> None:
    if not holds:
        raise VerificationError(f"{where}: found {found}, expected {expected}; export it again with tl-export")


def _metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}
