"""The trained side of a proof: a finished run, read once."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from tl_export.errors import ExportError
from tl_export.proof.routes import TorchRoute
from tl_export.run_pictures import evenly
from tl_infer.model.contract import ModelSpec
from tl_infer.system.finding import find_files
from tl_train.errors import ConfigError
from tl_train.run_folder.folder import RunFolder


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A finished run and the images that a file is compared with it on.

    Attributes:
        run: where it lies.
        route: from an image file to the label, through its network in PyTorch.
        pictures: image files to compare on.

    """

    run: RunFolder
    route: TorchRoute
    pictures: Sequence[Path]

    @property
    def spec(self) -> ModelSpec:
        """What the run says of its model."""
        return self.route.spec

    @staticmethod
    def load(
        run: Path, images: Sequence[str | os.PathLike[str]] = (), count: int | None = None, formats: Sequence[str] = ()
    ) -> "Trained":
        """Read a run.

        Args:
            run: folder that tl-train wrote.
            images: image files and folders to compare on; the run's held-out images when empty.
            count: compare on that many of them, evenly spread; on all for None.
            formats: of images, read besides those of the run.

        Raises:
            TypeError: `images` is a single path, not a list of them.
            TlError: not a finished run, or replaced by another one meanwhile; a path in `images` does not exist, or no
                image was held out.

        """
        if isinstance(images, str | os.PathLike):
            raise TypeError(f"images: found {os.fspath(images)!r}, expected a list of paths")
        folder = RunFolder(run)
        begun = _finished(folder)
        model = folder.load_model()  # first, as it tells what a run lacks
        try:
            limits = folder.config().data.limits
        except ConfigError as error:
            raise ExportError(f"{error}; it may be of another version of tl-train: train again") from error
        limits = dataclasses.replace(limits, formats=tuple(dict.fromkeys((*limits.formats, *formats))))
        route = TorchRoute(*model, limits, folder.familiarity())
        pictures = evenly(find_files(images) if images else folder.held_out_files(), count)
        if _finished(folder) != begun:
            raise ExportError(f"{run}: tl-train has just replaced this run by another one; export again")
        return Trained(folder, route, pictures)


def _finished(run: RunFolder) -> tuple[int, int] | None:
    """Which run was finished there: where another takes its place, metrics.json goes first and comes last."""
    with contextlib.suppress(OSError):
        status = run.metrics_file.stat()
        return status.st_ino, status.st_mtime_ns
    return None
