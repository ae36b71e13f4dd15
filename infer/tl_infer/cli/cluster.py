"""`--engine ray`: files classified on a cluster, rows as parquet files in a folder, which `--resume` continues."""

import contextlib
import dataclasses
import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from tl_infer.cli.console import EXIT_SOME_FAILED, require_extra, work_begins
from tl_infer.cli.inputs import Inputs
from tl_infer.cli.options import Options
from tl_infer.cli.output.rows import Row, Tally
from tl_infer.cli.progress import Progress
from tl_infer.errors import OutputPathError, first_line
from tl_infer.model.modelfile import ModelFile, read_model
from tl_infer.system.files import hold_folder, make_folder, open_regular, read_text, replacing, write_text
from tl_infer.system.temporaries import remove_stale
from tl_infer.text.safetext import printable

_RUN: Final = "_run.json"  # readers of parquet folders leave out what begins so
_PARTS: Final = "part-*.parquet"
_PART_ROWS: Final = 10_000  # of a parquet file
_PART_SECONDS: Final = 60  # what a killed run loses at most, if rows come slowly


def run_on_ray(options: Options) -> int:
    """Classify the files that have no row yet; the exit code.

    Raises:
        TlError: anything fatal.

    """
    require_extra("ray", ("ray", "pyarrow"))
    assert options.out is not None
    model = read_model(options.model, options.sha256)
    folder = _Folder(options.out)
    with folder.held():
        return _continue(options, model, folder)


def _continue(options: Options, model: ModelFile, folder: "_Folder") -> int:
    tally, started = Tally(), time.perf_counter()
    assert options.out is not None
    folder.prepare(_settings(options, model.sha256), resume=options.resume, overwrite=options.overwrite)
    skip = folder.paths()
    paths = [path for path in _paths(options) if path not in skip]
    progress = Progress(sys.stderr, len(paths) + len(skip), visible=True)
    progress.advance(len(skip))
    try:
        for table in _joined(_tables(options, model.data, paths)) if paths else ():
            folder.add(table)
            for row in table.select(["label", "labels", "reason", "error"]).to_pylist():
                # Without a reason for having none, no label is an answer, of a model that gives several.
                labels = None if row["reason"] else tuple(row["labels"])
                tally.add(Row(path="", labels=labels, label=row["label"], reason=row["reason"], error=row["error"]))
            progress.advance(table.num_rows)
    finally:
        progress.close()
    _summarise(tally, len(skip), time.perf_counter() - started, options.out)
    return EXIT_SOME_FAILED if tally.failed else 0


def _paths(options: Options) -> list[str]:
    """What the arguments name; URIs are listed by Ray's side."""
    from tl_infer.ray.stores import is_remote, list_images

    local = tuple(path for path in options.paths if not is_remote(path))
    skip = frozenset({str(options.out.resolve())}) if options.out is not None else frozenset()
    files = Inputs(local, options.nul, skip).files(lambda _: True)
    return [*map(str, files), *list_images([path for path in options.paths if is_remote(path)])]


def _tables(options: Options, model: bytes, paths: list[str]) -> Iterator[Any]:
    """Rows as they come, as tables."""
    import ray
    import ray.data

    from tl_infer.ray import Wanted, classify
    from tl_infer.ray.dataset import blocks

    # Of one that is running, only the address may be said.
    here: dict[str, Any] = {"include_dashboard": False} if options.ray_address is None else {}
    ray.init(options.ray_address or "local", log_to_driver=False, logging_level=logging.ERROR, **here)
    work_begins()  # Ray handles signals too
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # which has been set up when it was imported
    wanted = Wanted(
        top_k=options.top_k, threshold=options.threshold, min_familiarity=options.min_familiarity,
        limits=options.limits, threads=options.threads or 1,
    )  # fmt: skip
    listed = ray.data.from_arrow(blocks(paths))  # as paths they would be looked up again, one after another
    yield from classify(listed, model, wanted).iter_batches(batch_size=None, batch_format="pyarrow")


def _joined(tables: Iterator[Any]) -> Iterator[Any]:
    """The tables joined, to few files instead of many."""
    import pyarrow as pa

    waiting: list[Any] = []
    written = time.monotonic()
    for table in tables:
        waiting.append(table)
        is_late = time.monotonic() - written > _PART_SECONDS
        if is_late or sum(each.num_rows for each in waiting) >= _PART_ROWS:
            yield pa.concat_tables(waiting)
            waiting, written = [], time.monotonic()
    if waiting:
        yield pa.concat_tables(waiting)


def _settings(options: Options, sha256: str) -> dict[str, object]:
    """What the rows depend on besides the images."""
    limits = dataclasses.asdict(options.limits) | {"formats": list(options.limits.formats)}  # as JSON gives it back
    return {
        "model-sha256": sha256,
        "top-k": "all" if options.top_k is None else options.top_k,
        "threshold": options.threshold,
        "min-familiarity": options.min_familiarity,
        "limits": {name: value for name, value in limits.items() if name not in ("isolate", "max_seconds")},
    }


class _Folder:
    """The folder of rows: `_run.json`, and parquet files that are whole or not there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def held(self) -> contextlib.ExitStack:
        """Make it, and keep other runs out of it while the block runs that this is for.

        Raises:
            OutputPathError: it cannot be made, or another run writes to it.

        """
        make_folder(self._path)
        try:
            return hold_folder(self._path)
        except BlockingIOError as error:
            raise OutputPathError(
                f"{self._path}: another tl-infer is writing to this folder; wait for it, or choose another --out"
            ) from error

    def prepare(self, settings: dict[str, object], *, resume: bool, overwrite: bool) -> None:
        """Look whether it may be continued, and note what its rows depend on.

        Raises:
            OutputPathError: it has rows and nothing says what to do with them; they depend on something else.

        """
        remove_stale(self._path)
        parts = self._parts()
        if parts and not (resume or overwrite):
            raise OutputPathError(
                f"{self._path}: has rows already; continue with --resume, or replace with --overwrite"
            )
        if parts and resume and self._earlier() != settings:
            raise OutputPathError(
                f"{self._path}: its rows were made by another model or with other options, see {_RUN} in it; repeat "
                "them, or choose another folder"
            )
        if overwrite:
            for part in parts:
                part.unlink()
        write_text(self._path / _RUN, json.dumps(settings, ensure_ascii=False, indent=2) + "\n")

    def paths(self) -> frozenset[str]:
        """Those that have a row.

        Raises:
            OutputPathError: a file of rows cannot be read.

        """
        from pyarrow import parquet

        found: set[str] = set()
        for part in self._parts():
            try:
                with open_regular(part) as file:
                    found.update(parquet.read_table(file, columns=["path"]).column("path").to_pylist())
            except (OSError, ValueError, KeyError) as error:
                raise OutputPathError(f"{part}: cannot be continued: {first_line(error)}") from error
        return frozenset(found)

    def add(self, table: Any) -> None:
        """Write a further file.

        Raises:
            OutputPathError: it cannot be written.

        """
        from pyarrow import parquet

        taken = [int(part.stem.removeprefix("part-")) for part in self._parts()]
        with replacing(self._path / f"part-{max(taken, default=-1) + 1:06}.parquet") as file:
            parquet.write_table(table, file)

    def _parts(self) -> list[Path]:
        return sorted(part for part in self._path.glob(_PARTS) if part.stem.removeprefix("part-").isdecimal())

    def _earlier(self) -> object:
        try:
            return json.loads(read_text(self._path / _RUN))
        except (OSError, ValueError):
            return None


def _summarise(tally: Tally, before: int, seconds: float, out: Path) -> None:
    earlier = f", {before} from before" if before else ""
    errors = f"{tally.failed} error{'' if tally.failed == 1 else 's'}"
    click.echo(f"{tally.files + before} files{earlier}, {errors}, {tally.files / seconds:.1f} images/s", err=True)
    if tally.files:
        click.echo("\n".join(tally.lines()), err=True)
    click.echo(f"Results: {printable(str(out))}", err=True)
