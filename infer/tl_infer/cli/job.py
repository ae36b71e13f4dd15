"""One run of the program: files in, rows out, and everything else that was asked for on the way."""

import contextlib
import dataclasses
import io
import itertools
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tl_infer.classifier import Classifier
from tl_infer.cli.embeddings import EmbeddingWriter, embedding_writer
from tl_infer.cli.formats import Columns
from tl_infer.cli.inputs import Inputs, is_one_file
from tl_infer.cli.interrupts import Interrupts, Stopped
from tl_infer.cli.outfile import OutFile, companions, open_out
from tl_infer.cli.placing import Mode, Placer
from tl_infer.cli.rows import Row, make_row
from tl_infer.cli.sorting import Sorter
from tl_infer.cli.tally import Tally
from tl_infer.errors import ImageError, OutputPathError, first_line
from tl_infer.heatmaps import draw_overlay
from tl_infer.images import DEFAULT_LIMITS, Limits, load_image
from tl_infer.results import Classification
from tl_infer.system.parallel import available_threads, ordered_map

Result = Classification | ImageError
_JPEG_QUALITY = 90


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done.

    Attributes:
        paths: as `Inputs` takes them.
        nul: paths on standard input are separated by NUL.
        top_k: how many classes to name; None for all.
        threshold: abstain below this probability; None for the model's own.
        out: where the rows go; ends in `.csv` or `.jsonl`.
        resume, overwrite: what to do where `out` is there.
        sort_into: folder of a folder per class.
        sort_mode: how files get there.
        heatmaps: folder of the pictures with their heatmaps.
        embeddings: NumPy file of the embeddings.
        limits, fast_decode, providers: as the classifier was given them.

    """

    paths: tuple[str, ...]
    nul: bool = False
    top_k: int | None = 1
    threshold: float | None = None
    out: Path | None = None
    resume: bool = False
    overwrite: bool = False
    sort_into: Path | None = None
    sort_mode: Mode = "copy"
    heatmaps: Path | None = None
    embeddings: Path | None = None
    limits: Limits = DEFAULT_LIMITS
    fast_decode: bool = False
    providers: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did.

    Attributes:
        tally: of all rows, earlier ones included.
        done: files of this run.
        stopped: the signal that ended it early; None where all was done.

    """

    tally: Tally
    done: int
    stopped: int | None


class Run:
    """A job with a classifier."""

    def __init__(self, classifier: Classifier, job: Job) -> None:
        """Find out whether the inputs are there.

        Raises:
            InputPathError: a path names nothing.

        """
        self._classifier = classifier
        self._job = job
        self._sorter = None
        if job.sort_into is not None:
            self._sorter = Sorter(job.sort_into, classifier.labels, job.sort_mode)
        self._placer = Placer()
        self._inputs = Inputs(job.paths, job.nul, self._skipped())
        self.count = self._inputs.count()

    def execute(self, show: Callable[[Row], None], advance: Callable[[int], None]) -> Outcome:
        """Classify all files.

        Args:
            show: takes each row where there is no `out`.
            advance: takes how many files were done.

        Raises:
            OutputPathError: a result cannot be written; the rows so far stay in `NAME.partial`.
            ModelFileError: the model lacks an output that was asked for.
            InputPathError: a folder cannot be listed any more, or what is on standard input are no paths.

        """
        interrupts = Interrupts()
        with interrupts.caught(), contextlib.ExitStack() as stack:
            out = self._open_out(stack)
            embed = self._open_embeddings(stack)
            if self._job.heatmaps is not None:
                _make_folder(self._job.heatmaps)
            tally = Tally() if out is None else out.earlier.tally
            outcome = Outcome(tally, 0, None)
            done = 0
            try:
                with contextlib.closing(self._results(out, advance)) as results:
                    for path, result, overlay in results:
                        with interrupts.whole():
                            row = self._put(path, make_row(path, result), overlay)
                            embed(None if isinstance(result, ImageError) else result.embedding)
                            (show if out is None else out.write)(row)
                            tally.add(row)
                            done += 1
                            advance(1)
                outcome = Outcome(tally, done, None)
            except Stopped as stopped:
                outcome = Outcome(tally, done, stopped.signal)
        return outcome

    def _results(
        self, out: OutFile | None, advance: Callable[[int], None]
    ) -> Generator[tuple[Path, Result, bytes | None]]:
        """Each file that has no row yet, what the model says of it, and its heatmap as JPEG where asked for."""

        def without_row() -> Iterator[Path]:
            for path in self._inputs:
                if out is not None and out.earlier.take(path):
                    advance(1)
                else:
                    yield path

        paths, again = itertools.tee(without_row())
        job = self._job
        classify_all = self._one_by_one if is_one_file(job.paths) else self._classifier.classify_many
        results: Iterator[Result] = classify_all(
            again, job.top_k, threshold=job.threshold, embedding=job.embeddings is not None,
            heatmap=job.heatmaps is not None,
        )  # fmt: skip
        # The results first: they read ahead, and what they have read is then there for the paths.
        pairs = ((path, result) for result, path in zip(results, paths, strict=True))
        if job.heatmaps is None:
            yield from ((path, result, None) for path, result in pairs)
        else:
            yield from ordered_map(self._with_overlay, pairs, available_threads())

    def _one_by_one(self, paths: Iterator[Path], top_k: int | None, **options: Any) -> Iterator[Result]:
        """As `classify_many`, each picture on all cores."""
        for path in paths:
            try:
                yield self._classifier.classify(path, top_k, **options)
            except ImageError as error:
                yield error

    def _with_overlay(self, pair: tuple[Path, Result]) -> tuple[Path, Result, bytes | None]:
        path, result = pair
        if isinstance(result, ImageError) or result.heatmap is None:
            return path, result, None
        try:
            pixels = load_image(path, self._job.limits)
        except ImageError as error:  # it was there a moment ago
            return path, error, None
        buffer = io.BytesIO()
        overlay = draw_overlay(pixels, result.heatmap, self._classifier.spec.preprocess)
        overlay.save(buffer, "JPEG", quality=_JPEG_QUALITY)
        return path, result, buffer.getvalue()

    def _put(self, path: Path, row: Row, overlay: bytes | None) -> Row:
        """Write what belongs to a row, and note where; a file that cannot be put there keeps its answer."""
        try:
            if overlay is not None and self._job.heatmaps is not None:
                wanted = self._job.heatmaps / f"{path.stem}-heatmap.jpg"
                row = dataclasses.replace(row, heatmap=str(self._placer.write(overlay, wanted)))
            if self._sorter is not None:
                made = self._sorter.sort(path, row)
                row = dataclasses.replace(row, sorted_to=None if made is None else str(made))
        except OutputPathError:
            raise
        except OSError as error:
            row = dataclasses.replace(row, error=row.error or f"not put in its folder: {first_line(error)}")
        return row

    def _open_out(self, stack: contextlib.ExitStack) -> OutFile | None:
        job = self._job
        if job.out is None:
            return None
        extra = (("sorted_to",) if job.sort_into else ()) + (("heatmap",) if job.heatmaps else ())
        columns = Columns(self._classifier.labels, job.top_k, extra)
        opened = open_out(job.out, columns, self._settings(), resume=job.resume, overwrite=job.overwrite)
        return stack.enter_context(opened)

    def _settings(self) -> dict[str, object]:
        """What the rows depend on, beside the pictures."""
        job = self._job
        threshold = self._classifier.spec.abstain_below if job.threshold is None else job.threshold
        return {
            "model-sha256": self._classifier.sha256,
            "top-k": "all" if job.top_k is None else job.top_k,
            "threshold": threshold,
            "fast-decode": job.fast_decode,
            "provider": list(job.providers) or ["cpu"],
            "limits": dataclasses.asdict(job.limits),
            "sort-into": None if job.sort_into is None else [job.sort_mode, str(job.sort_into)],
            "heatmaps": None if job.heatmaps is None else str(job.heatmaps),
        }

    def _open_embeddings(self, stack: contextlib.ExitStack) -> EmbeddingWriter:
        if self._job.embeddings is None:
            return lambda _: None
        grey = np.full((8, 8, 3), 128, np.uint8)
        (first,) = self._classifier.classify_many([grey], embedding=True)
        if isinstance(first, ImageError):
            raise first
        assert first.embedding is not None
        return stack.enter_context(embedding_writer(self._job.embeddings, len(first.embedding)))

    def _skipped(self) -> frozenset[str]:
        """What this program writes is not to be classified, where it lies among the pictures."""
        job = self._job
        own = [*companions(job.out)] if job.out is not None else []
        own += [path for path in (job.heatmaps, job.embeddings) if path is not None]
        folders = self._sorter.folders if self._sorter is not None else frozenset()
        return frozenset(map(os.path.realpath, own)) | folders


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputPathError(f"{folder}: cannot be made: {first_line(error)}") from error
