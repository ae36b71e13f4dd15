"""One run of the program: files in, rows out, and everything else that the options ask for."""

import contextlib
import dataclasses
import io
import itertools
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tl_infer.classifier import Classifier
from tl_infer.cli.inputs import Inputs, is_one_file
from tl_infer.cli.interrupts import Interrupts, Stopped
from tl_infer.cli.options import Options
from tl_infer.cli.output.embeddings import EmbeddingWriter, embedding_writer
from tl_infer.cli.output.formats import Columns
from tl_infer.cli.output.outfile import OutFile, companions, open_out
from tl_infer.cli.output.placing import Placer
from tl_infer.cli.output.rows import Row, Tally, make_row
from tl_infer.cli.output.sorting import Sorter
from tl_infer.errors import ImageError, OutputPathError, first_line
from tl_infer.heatmaps import draw_overlay
from tl_infer.images import load_image
from tl_infer.results import Classification
from tl_infer.system.parallel import available_threads, ordered_map

Result = Classification | ImageError
_JPEG_QUALITY = 90


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did.

    Attributes:
        tally: of all rows, earlier ones included.
        done: files of this run.
        stopped: the signal that ended it early; None if it did everything.

    """

    tally: Tally
    done: int
    stopped: int | None


class Job:
    """The files that the options name, to be classified once.

    Attributes:
        count: how many files there are; None if standard input names them.

    """

    def __init__(self, classifier: Classifier, options: Options) -> None:
        """Look whether the inputs are there.

        Raises:
            InputPathError: a path names nothing.
            OutputPathError: the file for the embeddings exists.

        """
        self._classifier = classifier
        self._options = options
        if options.embeddings is not None and options.embeddings.exists() and not options.overwrite:
            raise OutputPathError(
                f"{options.embeddings}: already exists; choose another name, or replace it with --overwrite"
            )
        self._sorter = None
        if options.sort_into is not None:
            self._sorter = Sorter(options.sort_into, classifier.labels, options.sort_mode)
        self._placer = Placer()
        self._inputs = Inputs(options.paths, options.nul, self._own_files())
        self.count = self._inputs.count()

    def run(self, show: Callable[[Row], None], advance: Callable[[int], None]) -> Outcome:
        """Classify all files.

        Args:
            show: takes each row if there is no `--out`.
            advance: takes how many files were done.

        Raises:
            OutputPathError: a result cannot be written; the rows so far stay in `NAME.partial`.
            ModelFileError: the model lacks an output that was asked for.
            InputPathError: a folder can no longer be listed, or standard input does not hold paths.

        """
        interrupts = Interrupts()
        with interrupts.caught(), contextlib.ExitStack() as stack:
            out = self._open_out(stack)
            embed = self._open_embeddings(stack)
            if self._options.heatmaps is not None:
                _make_folder(self._options.heatmaps)
            tally = Tally() if out is None else out.earlier.tally
            write = show if out is None else out.write
            done, stopped = 0, None
            try:
                with contextlib.closing(self._results(out, advance)) as results:
                    for path, result, overlay in results:
                        with interrupts.whole():
                            row = self._put(path, make_row(path, result), overlay)
                            embed(None if isinstance(result, ImageError) else result.embedding)
                            write(row)
                            tally.add(row)
                            done += 1
                            advance(1)
            except Stopped as stop:
                stopped = stop.signal
        return Outcome(tally, done, stopped)

    def _results(
        self, out: OutFile | None, advance: Callable[[int], None]
    ) -> Generator[tuple[Path, Result, bytes | None]]:
        """Each file that has no row yet, its result, and its heatmap as JPEG if asked for."""

        def without_row() -> Iterator[Path]:
            for path in self._inputs:
                if out is not None and out.earlier.take(path):
                    advance(1)
                else:
                    yield path

        paths, again = itertools.tee(without_row())
        # The results first: they read ahead, and what they have read is then there for the paths.
        pairs = ((path, result) for result, path in zip(self._classified(again), paths, strict=True))
        if self._options.heatmaps is None:
            yield from ((path, result, None) for path, result in pairs)
        else:
            yield from ordered_map(self._with_overlay, pairs, available_threads())

    def _classified(self, paths: Iterator[Path]) -> Iterator[Result]:
        options = self._options
        classify_all = self._one_by_one if is_one_file(options.paths) else self._classifier.classify_many
        return classify_all(
            paths,
            options.top_k,
            threshold=options.threshold,
            min_familiarity=options.min_familiarity,
            embedding=options.embeddings is not None,
            heatmap=options.heatmaps is not None,
        )

    def _one_by_one(self, images: Iterable[Path], top_k: int | None, **wanted: Any) -> Iterator[Result]:
        """As `classify_many`, each image on all cores."""
        for image in images:
            try:
                yield self._classifier.classify(image, top_k, **wanted)
            except ImageError as error:
                yield error

    def _with_overlay(self, pair: tuple[Path, Result]) -> tuple[Path, Result, bytes | None]:
        path, result = pair
        if isinstance(result, ImageError) or result.heatmap is None:
            return path, result, None
        try:
            pixels = load_image(path, self._classifier.limits)
        except ImageError as error:  # it was there a moment ago
            return path, error, None
        buffer = io.BytesIO()
        overlay = draw_overlay(pixels, result.heatmap, self._classifier.spec.preprocess)
        overlay.save(buffer, "JPEG", quality=_JPEG_QUALITY)
        return path, result, buffer.getvalue()

    def _put(self, path: Path, row: Row, overlay: bytes | None) -> Row:
        """Write what belongs to a row, and note where; a file that cannot be put there keeps its answer."""
        try:
            if overlay is not None and self._options.heatmaps is not None:
                wanted = self._options.heatmaps / f"{path.stem}-heatmap.jpg"
                row = dataclasses.replace(row, heatmap=str(self._placer.write(overlay, wanted)))
            if self._sorter is not None:
                made = self._sorter.sort(path, row)
                row = dataclasses.replace(row, sorted_to=None if made is None else str(made))
        except OutputPathError:
            raise
        except OSError as error:
            row = dataclasses.replace(row, error=row.error or f"cannot be put into its folder: {first_line(error)}")
        return row

    def _open_out(self, stack: contextlib.ExitStack) -> OutFile | None:
        options = self._options
        if options.out is None:
            return None
        extra = (("sorted_to",) if options.sort_into else ()) + (("heatmap",) if options.heatmaps else ())
        columns = Columns(self._classifier.labels, options.top_k, extra, self._classifier.has_familiarity)
        opened = open_out(options.out, columns, self._settings(), resume=options.resume, overwrite=options.overwrite)
        return stack.enter_context(opened)

    def _settings(self) -> dict[str, object]:
        """What the rows depend on besides the images, as `NAME.run.json` has it."""
        options, limits = self._options, self._options.limits
        return {
            "model-sha256": self._classifier.sha256,
            "top-k": "all" if options.top_k is None else options.top_k,
            "threshold": self._classifier.spec.abstain_below if options.threshold is None else options.threshold,
            **self._min_familiarity(),
            "fast-decode": limits.fast_decode,
            "provider": list(options.providers) or ["cpu"],
            "limits": {
                "max_file_bytes": limits.max_file_bytes,
                "max_pixels": limits.max_pixels,
                "max_side_px": limits.max_side_px,
                "max_scans": limits.max_scans,
            }
            | ({} if limits.bit_depth is None else {"bit_depth": limits.bit_depth}),
            "sort-into": None if options.sort_into is None else [options.sort_mode, str(options.sort_into)],
            "heatmaps": None if options.heatmaps is None else str(options.heatmaps),
        }

    def _min_familiarity(self) -> dict[str, object]:
        found, given = self._classifier.spec.familiarity, self._options.min_familiarity
        return {} if found is None else {"min-familiarity": found.unfamiliar_below if given is None else given}

    def _open_embeddings(self, stack: contextlib.ExitStack) -> EmbeddingWriter:
        if self._options.embeddings is None:
            return lambda _: None
        grey = np.full((8, 8, 3), 128, np.uint8)
        (first,) = self._classifier.classify_many([grey], embedding=True)
        if isinstance(first, ImageError):
            raise first
        assert first.embedding is not None
        return stack.enter_context(embedding_writer(self._options.embeddings, len(first.embedding)))

    def _own_files(self) -> frozenset[str]:
        """Real paths of what this program writes, which is not to be classified if it is among the images."""
        options = self._options
        own = [*companions(options.out)] if options.out is not None else []
        own += [path for path in (options.heatmaps, options.embeddings) if path is not None]
        folders = self._sorter.folders if self._sorter is not None else frozenset()
        return frozenset(map(os.path.realpath, own)) | folders


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputPathError(f"{folder}: cannot be created: {first_line(error)}") from error
