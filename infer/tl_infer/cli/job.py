"""One run of the program: files in, rows out, and everything else that the options ask for."""

import contextlib
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tl_infer.classifier import Classifier
from tl_infer.cli.answers import Answer, Answers, Drawn, classify_files
from tl_infer.cli.inputs import Inputs
from tl_infer.cli.interrupts import Interrupts, Stopped
from tl_infer.cli.options import Options
from tl_infer.cli.output.embeddings import EmbeddingWriter, embedding_writer
from tl_infer.cli.output.formats import Columns
from tl_infer.cli.output.journal import Intent
from tl_infer.cli.output.outfile import OutFile, companions, open_out
from tl_infer.cli.output.placing import Placer, with_end
from tl_infer.cli.output.rows import Row, Tally, make_row
from tl_infer.cli.output.sorting import Sorter, folder_names
from tl_infer.errors import ImageError, OutputPathError, first_line
from tl_infer.system.files import make_folder
from tl_infer.system.parallel import OrderedMap
from tl_infer.system.temporaries import remove_stale


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did.

    Attributes:
        tally: of all rows, earlier ones included.
        failed_before: earlier rows that are errors; their files were not tried again.
        done: files of this run.
        stopped: the signal that ended it early; None if it did everything.

    """

    tally: Tally
    failed_before: int
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
        self._names = folder_names(classifier.labels) if options.heatmaps is not None else {}
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
                make_folder(self._options.heatmaps, parents=False)
            self._remove_stale()
            tally = Tally() if out is None else out.earlier.tally
            write = show if out is None else out.write
            intend: Callable[[Intent], None] = (lambda _: None) if out is None else out.intend
            failed_before, done, stopped = tally.failed, 0, None
            try:
                with contextlib.closing(self._answers(out, advance)) as answers:
                    for path, result, drawn in answers:
                        with interrupts.whole():
                            row = self._put(path, make_row(path, result), drawn, intend)
                            embed(None if isinstance(result, ImageError) else result.embedding)
                            write(row)
                            tally.add(row)
                            done += 1
                            advance(1)
            except Stopped as stop:
                stopped = stop.signal
            interrupts.finishing()
        return Outcome(tally, failed_before, done, stopped)

    def _answers(self, out: OutFile | None, advance: Callable[[int], None]) -> Answers | OrderedMap[Answer]:
        """Of each file that has no row yet."""

        def has_no_row(path: Path) -> bool:
            if out is not None and out.earlier.take(path):
                advance(1)
                return False
            return True

        return classify_files(self._classifier, self._options, self._inputs.files(has_no_row))

    def _put(self, path: Path, row: Row, drawn: Drawn, intend: Callable[[Intent], None]) -> Row:
        """Write what belongs to a row, and note where; a file that cannot be put there keeps its answer."""
        row, problem = self._put_heatmaps(path, row, drawn, intend)
        if self._sorter is None:
            return dataclasses.replace(row, error=row.error or problem)
        mode = self._sorter.mode

        def sorting(target: Path) -> None:
            done = dataclasses.replace(row, sorted_to=str(target), error=row.error or problem)
            intend(Intent(mode, path, target, done))

        made = None
        try:
            made = self._sorter.sort(path, row, sorting)
        except OutputPathError:
            raise
        except OSError as error:
            problem = problem or f"cannot be put into its folder: {first_line(error)}"
        return dataclasses.replace(row, sorted_to=None if made is None else str(made), error=row.error or problem)

    def _put_heatmaps(
        self, path: Path, row: Row, drawn: Drawn, intend: Callable[[Intent], None]
    ) -> tuple[Row, str | None]:
        """The row with its heatmaps, and why one is missing that could not be written."""
        problem = None
        for label, image in drawn.items():
            try:
                if isinstance(image, OSError):
                    raise image
                row = self._put_heatmap(path, row, label, image, intend)
            except OutputPathError:
                raise
            except OSError as error:
                problem = problem or f"its heatmap cannot be written: {first_line(error)}"
        return row, problem

    def _put_heatmap(self, path: Path, row: Row, label: str, image: bytes, intend: Callable[[Intent], None]) -> Row:
        """The row with one heatmap more."""
        assert self._options.heatmaps is not None

        def with_heatmap(target: Path) -> Row:
            return dataclasses.replace(row, heatmaps=(*row.heatmaps, str(target)))

        def drawing(target: Path) -> None:
            intend(Intent("heatmap", path, target, with_heatmap(target)))

        end = f"-{self._names[label]}-heatmap.jpg" if label else "-heatmap.jpg"
        wanted = self._options.heatmaps / with_end(path.stem, end)
        return with_heatmap(self._placer.write(image, wanted, drawing))

    def _open_out(self, stack: contextlib.ExitStack) -> OutFile | None:
        options = self._options
        if options.out is None:
            return None
        extra = (("sorted_to",) if options.sort_into else ()) + self._heatmap_column()
        told = self._classifier.has_familiarity, self._classifier.gives_several
        columns = Columns(self._classifier.labels, options.top_k, extra, *told)
        opened = open_out(options.out, columns, self._settings(), resume=options.resume, overwrite=options.overwrite)
        return stack.enter_context(opened)

    def _heatmap_column(self) -> tuple[str, ...]:
        if self._options.heatmaps is None:
            return ()
        return ("heatmaps",) if self._classifier.gives_several else ("heatmap",)

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
            | ({} if limits.bit_depth is None else {"bit_depth": limits.bit_depth})
            | ({"formats": list(limits.formats)} if limits.formats else {}),
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

    def _remove_stale(self) -> None:
        """Remove what killed runs left in the folders that this one writes to."""
        folders = [Path(folder) for folder in self._sorter.folders] if self._sorter is not None else []
        if self._options.heatmaps is not None:
            folders.append(self._options.heatmaps)
        if self._options.embeddings is not None:
            folders.append(self._options.embeddings.parent)
        for folder in folders:
            remove_stale(folder)

    def _own_files(self) -> frozenset[str]:
        """Real paths of what this program writes, which is not to be classified if it is among the images."""
        options = self._options
        own = [*companions(options.out)] if options.out is not None else []
        own += [path for path in (options.heatmaps, options.embeddings) if path is not None]
        folders = self._sorter.folders if self._sorter is not None else frozenset()
        return frozenset(map(os.path.realpath, own)) | folders
