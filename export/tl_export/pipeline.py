"""`export(run)`: the pipeline from a training run to one verified model file."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_export.adding.added_class import AddedClass, add_class
from tl_export.card import model_card
from tl_export.companions import card_path, digest_lines, parity_path
from tl_export.errors import ExportError
from tl_export.graph.assemble import assemble, leave_outputs, set_spec
from tl_export.graph.taps import TappedNetwork, chosen_outputs
from tl_export.options import ExportOptions
from tl_export.page.page import classifier_page
from tl_export.page.runtime import browser_runtime
from tl_export.proof.golden import Golden, golden_samples
from tl_export.proof.precision import RULES
from tl_export.proof.proof import parity_json
from tl_export.proof.trained import Trained
from tl_export.results import ExportResult
from tl_export.smaller.form import Formed, give_form
from tl_export.smaller.gates import Allowance
from tl_infer.errors import first_line
from tl_infer.model.contract import EMBEDDING, FAMILIARITY, HEATMAP, LOGITS, PROBABILITIES, ModelSpec
from tl_infer.model.selftest import run_self_test
from tl_infer.model.session import Session
from tl_infer.system.files import replacing, try_folder
from tl_infer.system.temporaries import remove_stale
from tl_infer.text.safetext import printable
from tl_train.errors import TracingError
from tl_train.models.network import memory_layout
from tl_train.models.trace import trace
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder


def export(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    options: ExportOptions | None = None,
    *,
    page: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportResult:
    """Turn a run of tl-train into one ONNX file, proven to give the same answers as the PyTorch model.

    Beside the file two others are written: what the proof found (`NAME.parity.json`) and a model card (`NAME.md`).

    Args:
        run: folder that tl-train wrote.
        out: file to write; `model.onnx` in the run's folder when None.
        options: what the file holds and what it is verified on; `ExportOptions()` when None.
        page: HTML file to write too, which classifies in a browser; none when None.
        overwrite: replace existing files.
        progress: shows what goes on; silent when None.

    Raises:
        TlError: not a finished run, nothing to verify on, the proof failed, or `out` cannot be written. There is no
            file then, and an existing one is as it was.

    """
    run = Path(run)
    RunFolder(run).check_finished()
    out = RunFolder(run).model_file if out is None else Path(out)
    options, progress = options or ExportOptions(), progress or Progress()
    page = None if page is None else Path(page)
    _check_names(out, page, overwrite)
    runtime = None if page is None else browser_runtime(progress)
    plain = Trained.load(run, options.images, options.verify_count, options.formats)
    if plain.spec.task == "multi" and page is not None:
        raise ExportError(f"{run}: its images may have several labels, and --page needs one; leave it out")
    trained, added, metrics = _extended(plain, options, progress)
    formed, outputs = _proven_file(trained, options, progress)
    # The images of an added class are nobody's to give away.
    golden = _golden_samples(formed, dataclasses.replace(trained, pictures=plain.pictures), options, progress)
    spec = _completed(formed, _spec(trained, options), trained, golden)
    data = formed.file.SerializeToString()
    run_self_test(Session.from_bytes(data, str(out)), str(out))  # of the very bytes that are written, metadata and all
    result = ExportResult(out, len(data), outputs, formed.proof, golden, formed.int8, added, page)
    more = {**formed.document(run), **({"added_class": added.document()} if added else {})}
    sha256 = hashlib.sha256(data).hexdigest()
    parity = _utf8(parity_json(formed.proof, golden.document(), sha256, run, more))
    digests = {out.name: sha256, parity_path(out).name: hashlib.sha256(parity).hexdigest()}
    card = model_card(result, spec, trained, metrics) + digest_lines(digests)
    files = {out: data, parity_path(out): parity, card_path(out): _utf8(card)}
    if page is not None and runtime is not None:
        files[page] = classifier_page(data, printable(page.stem), runtime)
    _write(files)
    return result


def _extended(
    plain: Trained, options: ExportOptions, progress: Progress
) -> tuple[Trained, AddedClass | None, Mapping[str, Mapping[str, Any]]]:
    """The run with the class that is to be added, if any, what came of that, and what was measured."""
    metrics = plain.run.metrics()
    if options.add_class is None:
        return plain, None, metrics
    extended = add_class(plain, *options.add_class, progress)
    return extended.trained, extended.added, {**metrics, "held_out": {**metrics["held_out"], **extended.held_out}}


def _proven_file(trained: Trained, options: ExportOptions, progress: Progress) -> tuple[Formed, tuple[str, ...]]:
    """The file in the precision that is asked for, proven, and the names of its outputs."""
    route, spec = trained.route, _spec(trained, options)
    progress.note(f"Tracing {spec.architecture}")
    chosen = chosen_outputs(options.outputs, route.taps)
    if HEATMAP in options.outputs and HEATMAP not in chosen:
        progress.note(f"No output 'heatmap': {route.taps.reason}")
    familiarity = route.familiarity if FAMILIARITY in options.outputs else None
    if FAMILIARITY in options.outputs and familiarity is None and spec.task == "single":
        progress.note("No output 'familiarity': it was not fitted for this model, as with too few held-back images")
    # The proof looks at the logits and int8 is made by them, also where the file does not give them.
    needed = (LOGITS,) if familiarity is None else (LOGITS, EMBEDDING)
    traced = (*needed, *(name for name in chosen if name not in needed))
    try:
        network = trace(TappedNetwork(route.model, route.taps, traced), spec.preprocess.size, traced)
    except TracingError as error:
        raise ExportError(str(error)) from error
    told = () if familiarity is None else (FAMILIARITY,)
    # Tracing has laid it out contiguously; in channels_last the proof's images take two thirds of the time.
    route.model.to(memory_format=memory_layout(route.model))
    whole = assemble(network, spec, (PROBABILITIES, *traced, *told), familiarity)
    set_spec(whole, spec, bit_depth=route.limits.bit_depth)
    formed = give_form(whole, options.precision, trained, progress, Allowance(options.max_drop, options.gate))
    outputs = (PROBABILITIES, *chosen, *told)
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


def _spec(trained: Trained, options: ExportOptions) -> ModelSpec:
    """What the run says of its model, as far as the file has it."""
    has_familiarity = FAMILIARITY in options.outputs and trained.route.familiarity is not None
    return trained.spec if has_familiarity else dataclasses.replace(trained.spec, familiarity=None)


def _completed(formed: Formed, spec: ModelSpec, trained: Trained, golden: Golden) -> ModelSpec:
    """The spec with the proof and what was measured; written into the file, whose graph stays the one proven."""
    metrics = {**spec.metrics, **formed.metrics()}
    spec = dataclasses.replace(formed.spec(spec), parity=formed.proof.summary(), metrics=metrics)
    set_spec(formed.file, spec, golden.samples, trained.route.limits.bit_depth)
    return spec


def _check_names(out: Path, page: Path | None, overwrite: bool) -> None:
    """Say early what would only fail after minutes of work."""
    pages = [] if page is None else [page]
    for path in (out, *pages):
        if not path.parent.is_dir():
            raise ExportError(f"{path}: the folder {path.parent} does not exist; make it first")
    if page is not None and page.suffix.lower() not in (".html", ".htm"):
        raise ExportError(f"{page}: found suffix '{page.suffix}', expected .html: a page for a browser")
    if out.suffix in (".md", ".json"):
        raise ExportError(f"{out}: the model card and the proof are written under such names; name the file *.onnx")
    if page is not None and os.path.realpath(page) == os.path.realpath(out):
        raise ExportError(f"{page}: the model has this name, too; name one of them otherwise")
    for path in (out, parity_path(out), card_path(out), *pages):
        _check_name(path, overwrite)
    for folder in {Path(os.path.realpath(path)).parent for path in (out, *pages)}:  # of a link, where it leads
        try_folder(folder)


def _check_name(path: Path, overwrite: bool) -> None:
    try:
        exists, is_folder = path.exists(), path.is_dir()
    except OSError as error:  # a name too long, or a folder that is closed to us
        raise ExportError(f"{path}: cannot be written: {first_line(error)}; choose another name") from error
    if is_folder:
        raise ExportError(f"{path}: is a folder; expected the name of a file to write")
    if exists and not overwrite:
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
