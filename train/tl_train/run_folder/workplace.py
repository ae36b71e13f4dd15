"""Where a run is written: its folder, or beside the finished run in that folder until it is complete itself."""

import contextlib
import dataclasses
import os
import shutil
from pathlib import Path

from tl_infer.errors import OutputPathError, first_line
from tl_infer.system.files import hold_folder, try_folder
from tl_infer.system.temporaries import is_temporary, remove_stale
from tl_train.config import TrainConfig
from tl_train.data.sources.reading import BUILT_IN
from tl_train.errors import RunError
from tl_train.run_folder.folder import RunFolder

FOLDER = "replacement"


@dataclasses.dataclass(frozen=True, slots=True)
class Workplace:
    """The folder of a run.

    Attributes:
        run: what it is in the end.
        work: where it is written until then: `run`, or a folder in it while a finished run is there.

    """

    run: RunFolder
    work: RunFolder

    @staticmethod
    def at(out: Path) -> "Workplace":
        """The place of a run in `out`; nothing is changed, unless a complete run was about to take its place.

        Raises:
            RunError: another process is running in the folder, or what it left cannot be put into its place.

        """
        run, replacement = RunFolder(out), RunFolder(out / FOLDER)
        if replacement.is_finished():
            with Workplace(run, replacement).held():
                if replacement.is_finished():  # else that process has done it
                    _take_over(run, replacement)
        return Workplace(run, replacement if run.is_finished() else run)

    @property
    def before(self) -> RunFolder:
        """The run that `--resume` continues."""
        return self.work if self.work.config_file.is_file() else self.run

    def held(self) -> contextlib.ExitStack:
        """Keep other processes from running in the folder, which is made where it is not there, while the block runs.

        Raises:
            RunError: another one does, or has finished a run since `at`; the folder cannot be made.

        """
        try:
            self.run.path.mkdir(parents=True, exist_ok=True)
            held = hold_folder(self.run.path)
        except BlockingIOError as error:
            raise RunError(
                f"{self.run}: another tl-train is running in this folder; wait for it, or choose another --out"
            ) from error
        except OSError as error:
            raise RunError(f"{self.run}: cannot be used as the run's folder: {first_line(error)}") from error
        if self.work == self.run and self.run.is_finished():
            held.close()
            raise RunError(f"{self.run}: another tl-train has finished a run here meanwhile; choose another --out")
        return held

    def check(self, config: TrainConfig, *, overwrite: bool, resume: bool) -> None:
        """Say at once whether a run can be written here; nothing is changed.

        Raises:
            RunError: the folder holds another run (unless `overwrite`), holds other files, is in use, or cannot be
                used; with `resume`, it holds no unfinished run of the same configuration.

        """
        run, existing = self.run, _existing(self.run)
        if run.path.is_dir():
            self.held().close()
        _check_writable(run)
        _check_beside_images(run, config)
        if resume:
            _check_resumable(self.before, config)
            return
        if config.data.fix and run.path.resolve() in Path(config.data.fix).resolve().parents:
            raise RunError(f"{config.data.fix}: lies in {run}, which the run would replace; choose another --out")
        if existing and run.config_file.name not in existing:
            raise RunError(f"{run}: holds other files ({existing[0]}, ...); choose a new folder for the run")
        if run.is_finished() and not overwrite:
            raise RunError(f"{run}: holds a run already; choose another folder, or replace it with --overwrite")
        if run.checkpoints_folder.name in existing and not overwrite:
            raise RunError(f"{run}: holds an unfinished run; continue it with --resume, or replace it with --overwrite")

    def start(self, config: TrainConfig) -> None:
        """Make the folder, clear it of an unfinished run, and write config.toml. Files that no run wrote stay.

        The folder is to be held, from here to the end of the run.

        Raises:
            RunError: the folder cannot be made or cleared.
            OutputPathError: config.toml cannot be written.

        """
        try:
            self.work.path.mkdir(parents=True, exist_ok=True)
            _clear(self.work)
            if self.work == self.run and (self.run.path / FOLDER).is_dir():
                shutil.rmtree(self.run.path / FOLDER)
        except OSError as error:
            raise RunError(f"{self.run}: cannot be used as the run's folder: {first_line(error)}") from error
        remove_stale(self.run.path)
        config.save(self.work.config_file)

    def go_on(self, config: TrainConfig) -> None:
        """Note what the run that is continued is to become.

        Raises:
            RunError: the folder cannot be made.
            OutputPathError: config.toml cannot be written.

        """
        try:
            self.work.path.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.work}: cannot be made: {first_line(error)}") from error
        config.save(self.work.config_file)

    def finish(self) -> None:
        """Let the complete run take the place of the one before.

        Raises:
            RunError: a file cannot be removed or moved; `--resume` tries it again.

        """
        if self.work != self.run:
            _take_over(self.run, self.work)


def _take_over(run: RunFolder, complete: RunFolder) -> None:
    """Move a complete run to where another one is; where this was interrupted it goes on.

    First the old metrics.json goes, so that no mixture is ever taken for a finished run, and the new one comes last.
    config.toml comes first: until it is there, nothing of the new run is among what is cleared.
    """
    try:
        if complete.config_file.exists():
            _clear(run)
            complete.config_file.replace(run.config_file)
        if complete.checkpoints_folder.exists():
            shutil.rmtree(complete.checkpoints_folder)
        for path in sorted(complete.path.iterdir()):
            if path != complete.metrics_file and not is_temporary(path.name):
                path.replace(run.path / path.name)
        complete.metrics_file.replace(run.metrics_file)
        shutil.rmtree(complete.path)
    except OSError as error:
        raise RunError(
            f"{run}: the new run, complete in {complete.path.name}, cannot take its place: {first_line(error)}; "
            "--resume tries again"
        ) from error


def _clear(run: RunFolder) -> None:
    for file in run.files:
        file.unlink(missing_ok=True)
    for folder in run.folders:
        if folder.exists():
            shutil.rmtree(folder)


def _existing(run: RunFolder) -> list[str]:
    """Names of what is in the folder, sorted; empty where there is no folder yet, or only what a kill left."""
    try:
        if run.path.is_dir():
            return sorted(entry.name for entry in run.path.iterdir() if not is_temporary(entry.name))
        run.path.stat()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{run}: cannot be used as the run's folder: {first_line(error)}") from error
    raise RunError(f"{run}: is a file; expected the folder of a run")


def _check_writable(run: RunFolder) -> None:
    """Try the folder, or where it is to be made; nothing stays there."""
    try:
        try_folder(next(folder for folder in (run.path, *run.path.absolute().parents) if folder.is_dir()))
    except OutputPathError as error:
        raise RunError(f"{run}: cannot be used as the run's folder: {error}") from error


def _check_beside_images(run: RunFolder, config: TrainConfig) -> None:
    """A run among the images would be a class, or part of one, for whoever reads them next: --resume, for one."""
    source = config.data.source
    if source in BUILT_IN or not os.path.isdir(source):  # noqa: PTH112 - Path.is_dir raises where the name is too long
        return
    images, folder = Path(source).resolve(), run.path.resolve()
    inside = folder.relative_to(images).parts if folder.is_relative_to(images) else ()
    if inside and not any(name.startswith(".") for name in inside):  # which no search for images enters
        raise RunError(f"{run}: lies in the images' folder {source}, where it would be read as a class; choose another "
                       "--out")  # fmt: skip


def _check_resumable(run: RunFolder, config: TrainConfig) -> None:
    if run.config_file.name not in _existing(run):
        raise RunError(f"{run}: holds no run to resume; start it without --resume")
    before = run.config()
    if run.is_finished() and not config.goes_on_from(before):
        raise RunError(
            f"{run}: the run is finished, there is nothing to resume; modes full and gradual go on with more "
            f"--epochs than {before.steps.epochs}"
        )
    if not config.goes_on_from(before) and (differences := before.difference(config)):
        raise RunError(f"{run}: cannot be resumed with other options (then, now): {'; '.join(differences)}")
