"""`export(run)`: the pipeline from a training run to one verified model file."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from tl_export.card import model_card
from tl_export.companions import card_path, digest_lines, parity_path
from tl_export.errors import ExportError
from tl_export.graph.assemble import assemble, leave_outputs, set_spec
from tl_export.graph.taps import TappedNetwork, chosen_outputs
from tl_export.options import ExportOptions
from tl_export.proof.golden import Golden, golden_samples
from tl_export.proof.precision import RULES
from tl_export.proof.proof import parity_json
from tl_export.proof.trained import Trained
from tl_export.results import ExportResult
from tl_export.smaller.form import Formed, give_form
from tl_export.smaller.gates import Allowance
from tl_infer.model.contract import HEATMAP, LOGITS, PROBABILITIES, ModelSpec
from tl_infer.system.files import replacing
from tl_infer.system.temporaries import remove_stale
from tl_train.errors import TracingError
from tl_train.models.trace import trace
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder


def export(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    options: ExportOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportResult:
    """Turn a run of tl-train into one ONNX file, proven to give the same answers as the PyTorch model.

    Beside the file two others are written: what the proof found (`NAME.parity.json`) and a model card (`NAME.md`).

    Args:
        run: folder that tl-train wrote.
        out: file to write; `model.onnx` in the run's folder when None.
        options: what the file holds and what it is verified on; `ExportOptions()` when None.
        overwrite: replace existing files.
        progress: shows what goes on; silent when None.

    Raises:
        TlError: not a finished run, nothing to verify on, the proof failed, or `out` cannot be written. There is no
            file then, and an existing one is as it was.

    """
    run = Path(run)
    out = RunFolder(run).model_file if out is None else Path(out)
    options, progress = options or ExportOptions(), progress or Progress()
    _check_names(out, overwrite)
    trained = Trained.load(run, options.images, options.verify_count)
    metrics = trained.run.metrics()
    formed, outputs = _proven_file(trained, options, progress)
    golden = _golden_samples(formed, trained, options, progress)
    spec = _completed(formed, trained, golden)
    data = formed.file.SerializeToString()
    result = ExportResult(out, len(data), outputs, formed.proof, golden, formed.int8)
    sha256 = hashlib.sha256(data).hexdigest()
    parity = _utf8(parity_json(formed.proof, golden.document(), sha256, run, formed.document()))
    digests = {out.name: sha256, parity_path(out).name: hashlib.sha256(parity).hexdigest()}
    card = model_card(result, spec, trained, metrics) + digest_lines(digests)
    _write({out: data, parity_path(out): parity, card_path(out): _utf8(card)})
    return result


def _proven_file(trained: Trained, options: ExportOptions, progress: Progress) -> tuple[Formed, tuple[str, ...]]:
    """The file in the precision that is asked for, proven, and the names of its outputs."""
    route, spec = trained.route, trained.spec
    progress.note(f"Tracing {spec.architecture}")
    chosen = chosen_outputs(options.outputs, route.taps)
    if HEATMAP in options.outputs and HEATMAP not in chosen:
        progress.note(f"No output 'heatmap': {route.taps.reason}")
    # The proof looks at the logits and int8 is made by them, also where the file does not give them.
    traced = (LOGITS, *(name for name in chosen if name != LOGITS))
    try:
        network = trace(TappedNetwork(route.model, route.taps, traced), spec.preprocess.size, traced)
    except TracingError as error:
        raise ExportError(str(error)) from error
    whole = assemble(network, spec, (PROBABILITIES, *traced))
    set_spec(whole, spec, bit_depth=route.limits.bit_depth)
    formed = give_form(whole, options.precision, trained, progress, Allowance(options.max_drop, options.gate))
    outputs = (PROBABILITIES, *chosen)
    leave_outputs(formed.file, outputs)
    return formed, outputs


def _golden_samples(formed: Formed, trained: Trained, options: ExportOptions, progress: Progress) -> Golden:
    golden = golden_samples(
        formed.file.SerializeToString(),
        trained,
        RULES[formed.proof.precision],
        synthetic=options.golden == "synthetic",
    )
    for fault in golden.missed():
        progress.note(f"Golden samples: they would not show a runtime with {fault}; it hardly changes the answers")
    return golden


def _completed(formed: Formed, trained: Trained, golden: Golden) -> ModelSpec:
    """The spec with the proof and what was measured; written into the file, whose graph stays the one proven."""
    metrics = {**trained.spec.metrics, **formed.metrics()}
    spec = dataclasses.replace(formed.spec(trained.spec), parity=formed.proof.summary(), metrics=metrics)
    set_spec(formed.file, spec, golden.samples, trained.route.limits.bit_depth)
    return spec


def _check_names(out: Path, overwrite: bool) -> None:
    """Say early what would only fail after minutes of work."""
    if not out.parent.is_dir():
        raise ExportError(f"{out}: the folder {out.parent} does not exist; make it first")
    if out.suffix in (".md", ".json"):
        raise ExportError(f"{out}: the model card and the proof are written under such names; name the file *.onnx")
    for path in (out, parity_path(out), card_path(out)):
        if path.is_dir():
            raise ExportError(f"{path}: is a folder; expected the name of a file to write")
        if path.exists() and not overwrite:
            raise ExportError(f"{path}: exists already; choose another name, or replace it with --overwrite")


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", errors="backslashreplace")


def _write(contents: Mapping[Path, bytes]) -> None:
    """Write several files, whole or not at all: none gets its name before all are on the disk.

    Raises:
        OutputPathError: a file cannot be written.

    """
    for folder in {path.parent for path in contents}:
        remove_stale(folder)
    with contextlib.ExitStack() as stack:
        for path, data in contents.items():
            file = stack.enter_context(replacing(path))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
