"""`export(run, out)`: from a training run to one proven model file; the story on one page."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tl_export.assemble import assemble, set_spec
from tl_export.errors import ExportError
from tl_export.trace import trace
from tl_export.verify import verify
from tl_infer.contract import ParitySummary
from tl_infer.files import write_bytes
from tl_infer.folder import find_files
from tl_train.checkpoint import held_out_files, load_model
from tl_train.progress import Progress


@dataclasses.dataclass(frozen=True, slots=True)
class ExportResult:
    """A written model file.

    Attributes:
        path: the file.
        size_bytes: its size.
        parity: what was proven of it.

    """

    path: Path
    size_bytes: int
    parity: ParitySummary


def export(
    run: Path,
    out: Path,
    *,
    images: Sequence[Path] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportResult:
    """Turn a run of tl-train into one ONNX file that is proven to say the same as the PyTorch model.

    Args:
        run: folder that tl-train wrote.
        out: file to write.
        images: pictures and folders to verify on; the run's held-out pictures when empty.
        overwrite: replace an existing file.
        progress: how to show what goes on; silent when None.

    Raises:
        TlError: not a finished run, nothing to verify on, the proof failed, or `out` cannot be written. There is no
            file then, and an existing one is as it was.

    """
    progress = progress or Progress()
    _check_output(out, overwrite)
    model, spec, _ = load_model(run)
    pictures = find_files(images) if images else held_out_files(run)
    progress.note(f"Tracing {spec.architecture}")
    file = assemble(trace(model, spec.preprocess.size), spec)
    parity = verify(model, spec, file.SerializeToString(), pictures, progress)
    # The proof itself goes into the file; this touches the metadata only, never the graph that was proven.
    set_spec(file, dataclasses.replace(spec, parity=parity))
    data = file.SerializeToString()
    write_bytes(out, data)
    return ExportResult(out, len(data), parity)


def _check_output(out: Path, overwrite: bool) -> None:
    """Say early what would only fail after minutes of work."""
    if out.is_dir():
        raise ExportError(f"{out}: is a folder; expected the name of a file to write")
    if out.exists() and not overwrite:
        raise ExportError(f"{out}: exists already; choose another name, or replace it with --overwrite")
    if not out.parent.is_dir():
        raise ExportError(f"{out}: the folder {out.parent} does not exist; make it first")
