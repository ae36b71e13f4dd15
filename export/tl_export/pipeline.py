"""`export(run, out)`: from a training run to one proven model file; the story on one page."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tl_export.card import model_card
from tl_export.errors import ExportError
from tl_export.graph.assemble import assemble, leave_outputs, set_spec
from tl_export.graph.taps import ALL_OUTPUTS, TappedNetwork, chosen_outputs
from tl_export.proof.golden import Golden, golden_samples
from tl_export.proof.precision import RULES
from tl_export.proof.proof import Proof, parity_json
from tl_export.proof.routes import TorchRoute
from tl_export.proof.verify import evenly
from tl_export.smaller.form import Form, give_form
from tl_export.smaller.int8 import QuantizeResult
from tl_infer.model.contract import HEATMAP, LOGITS, PROBABILITIES, ParitySummary
from tl_infer.system.files import replacing
from tl_infer.system.finding import find_files
from tl_train.errors import TracingError
from tl_train.models.trace import trace
from tl_train.progress import Progress
from tl_train.run_folder.folder import held_out_files, load_model


@dataclasses.dataclass(frozen=True, slots=True)
class ExportResult:
    """A written model file.

    Attributes:
        path: the file.
        size_bytes: its size.
        outputs: what it gives, in order.
        proof: what was proven of it.
        golden: its golden samples.
        int8: what came of int8, where it was asked for; the file may be float32 all the same.

    """

    path: Path
    size_bytes: int
    outputs: tuple[str, ...]
    proof: Proof
    golden: Golden
    int8: QuantizeResult | None

    @property
    def parity(self) -> ParitySummary:
        """The proof as the file's metadata have it."""
        return self.proof.summary()


def export(
    run: Path,
    out: Path,
    *,
    images: Sequence[Path] = (),
    overwrite: bool = False,
    outputs: Sequence[str] = ALL_OUTPUTS,
    verify_count: int | None = None,
    form: Form | None = None,
    progress: Progress | None = None,
) -> ExportResult:
    """Turn a run of tl-train into one ONNX file that is proven to say the same as the PyTorch model.

    Beside the file two others are written: what the proof found (`NAME.parity.json`) and a model card (`NAME.md`).

    Args:
        run: folder that tl-train wrote.
        out: file to write.
        images: pictures and folders to verify on; the run's held-out pictures when empty.
        overwrite: replace existing files.
        outputs: which outputs the file has, if the network does; `probabilities` in any case.
        verify_count: verify on that many of the pictures, spread over all; on all for None.
        form: in what numbers the network is kept, and what the golden samples are.
        progress: how to show what goes on; silent when None.

    Raises:
        TlError: not a finished run, nothing to verify on, the proof failed, or `out` cannot be written. There is no
            file then, and an existing one is as it was.

    """
    progress, form = progress or Progress(), form or Form()
    _check_outputs(out, overwrite)
    model, spec, architecture = load_model(run)
    pictures = evenly(find_files(images) if images else held_out_files(run), verify_count)
    progress.note(f"Tracing {spec.architecture}")
    route = TorchRoute(model, spec, architecture)
    taps = route.taps
    chosen = chosen_outputs(outputs, taps)
    if HEATMAP in outputs and HEATMAP not in chosen:
        progress.note(f"No output 'heatmap': {taps.reason}")
    network_outputs = (LOGITS, *(name for name in chosen if name != LOGITS))
    try:
        network = trace(TappedNetwork(model, taps, network_outputs), spec.preprocess.size, network_outputs)
    except TracingError as error:
        raise ExportError(str(error)) from error
    whole = assemble(network, spec, (PROBABILITIES, LOGITS, *(name for name in chosen if name != LOGITS)))
    formed = give_form(whole, form, model, route, run, pictures, progress)
    file, proof = leave_outputs(formed.file, (PROBABILITIES, *chosen)), formed.proof
    golden = golden_samples(
        file.SerializeToString(),
        route,
        None if form.synthetic_golden else pictures,
        RULES[proof.precision],
    )
    for fault in golden.missed():
        progress.note(f"Golden samples: they would not show a runtime with {fault}; the answers hardly change by it")
    # The proof itself goes into the file; this touches the metadata only, never the graph that was proven.
    finished = dataclasses.replace(spec, parity=proof.summary(), metrics={**spec.metrics, **formed.metrics()})
    set_spec(file, finished, golden.samples)
    data = file.SerializeToString()
    parity = parity_json(proof, golden.document(), hashlib.sha256(data).hexdigest(), run, formed.document())
    card = model_card(out.name, run, finished, (PROBABILITIES, *chosen), formed, golden, len(data))
    _write({out: data, parity_path(out): _utf8(parity), card_path(out): _utf8(card)})
    return ExportResult(out, len(data), (PROBABILITIES, *chosen), proof, golden, formed.int8)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", errors="backslashreplace")


def parity_path(out: Path) -> Path:
    """Where the proof of the model file `out` is written."""
    return out.with_name(f"{out.stem}.parity.json")


def card_path(out: Path) -> Path:
    """Where the model card of the model file `out` is written."""
    return out.with_name(f"{out.stem}.md")


def _check_outputs(out: Path, overwrite: bool) -> None:
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


def _write(contents: Mapping[Path, bytes]) -> None:
    """Write several files, whole or not at all: none gets its name before all are on the disk.

    Raises:
        OutputPathError: a file cannot be written.

    """
    with contextlib.ExitStack() as stack:
        for path, data in contents.items():
            file = stack.enter_context(replacing(path))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
