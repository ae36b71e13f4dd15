"""Keeping activations in the cache folder: a file for each set of images and frozen stages, mirrored or not."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from tl_infer.system.files import replacing
from tl_train.cache.disk import cache_subfolder, make_room, megabytes, touch
from tl_train.progress import Progress
from tl_train.training.partial.activation_file import (
    ActivationFile,
    ActivationWriter,
    DamagedFileError,
    Half,
    file_bytes,
)
from tl_train.training.partial.activations import Activations, FrozenStages, StoredActivations, StreamedActivations

FOLDER = "activations"
LIMIT_BYTES = 20_000_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ActivationCache:
    """How activations are kept.

    Attributes:
        keep: keep them on disk; otherwise recompute them every epoch.
        limit_bytes: of the folder; activations that need more are recomputed every epoch.
        mirrored: also those of the mirrored images.

    """

    keep: bool = True
    limit_bytes: int = LIMIT_BYTES
    mirrored: bool = True

    @property
    def versions(self) -> tuple[bool, ...]:
        """What is computed of each image: mirrored or not."""
        return (False, True) if self.mirrored else (False,)


def keep_activations(stages: FrozenStages, cache: ActivationCache, progress: Progress) -> Activations:
    """The activations of all images of `stages`: kept by an earlier run, computed now, or streamed.

    Raises:
        OutputPathError: the disk has no room for them, or the cache folder cannot be written.
        ImageError, TrainingError: as `FrozenStages.compute`.

    """
    needed = len(cache.versions) * file_bytes(len(stages.samples), stages.trunk.shape)
    if not cache.keep or needed > cache.limit_bytes:
        too_small = f"Cache too small ({megabytes(needed)} needed, limit {megabytes(cache.limit_bytes)})"
        progress.note(f"{too_small if cache.keep else 'Cache off'}: recomputing activations every epoch")
        return StreamedActivations(stages)
    return _Store(stages, cache, progress).activations()


class _Rows:
    """Rows of several files by the digest of their image."""

    def __init__(self) -> None:
        self._places: dict[bytes, tuple[ActivationFile, int]] = {}

    def add(self, file: ActivationFile) -> None:
        """Take in the rows of a file that was checked."""
        self._places |= {digest: (file, index) for index, digest in enumerate(file.digests)}

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._places

    def __getitem__(self, digest: bytes) -> Half:
        file, index = self._places[digest]
        return file.checked_row(index)


class _Store:
    """The files of a set of images; what it has in common with an earlier set, as the next seed's, is taken over."""

    def __init__(self, stages: FrozenStages, cache: ActivationCache, progress: Progress) -> None:
        self._stages, self._cache, self._progress = stages, cache, progress
        self._digests = stages.digests
        self._folder = cache_subfolder(FOLDER)
        images = hashlib.sha256(b"".join(self._digests)).hexdigest()
        self._paths = {mirrored: self._folder / f"{stages.key(mirrored)}-{images}.npy" for mirrored in cache.versions}

    def activations(self) -> Activations:
        files = self._open()
        if len(files) < len(self._paths):
            for file in files.values():
                file.close()
            self._write({mirrored: path for mirrored, path in self._paths.items() if mirrored not in files})
            files = self._open()
        if len(files) < len(self._paths):
            self._progress.note(f"Cache full ({self._folder}): recomputing activations every epoch")
            return StreamedActivations(self._stages)
        return StoredActivations(files)

    def _open(self) -> dict[bool, ActivationFile]:
        """Those of the files that are there and undamaged."""
        files = {}
        for mirrored, path in self._paths.items():
            try:
                files[mirrored] = _checked(path, self._progress)
            except FileNotFoundError:
                continue
            except DamagedFileError as error:
                self._progress.note(f"{error}; recomputing")
                continue
            touch(path)
        return files

    def _write(self, paths: Mapping[bool, Path]) -> None:
        count, shape = len(self._digests), self._stages.trunk.shape
        needed = len(paths) * file_bytes(count, shape)
        self._progress.note(f"Activations of {count} images: {megabytes(needed)} in {self._folder}")
        make_room(self._folder, needed, self._cache.limit_bytes)
        with contextlib.ExitStack() as stack:
            earlier = {mirrored: stack.enter_context(self._earlier(mirrored)) for mirrored in paths}
            files = [stack.enter_context(replacing(path)) for path in paths.values()]
            writers = [ActivationWriter(file, count, shape) for file in files]
            for digest, rows in zip(self._digests, self._rows(earlier), strict=True):
                for writer, row in zip(writers, rows, strict=True):
                    writer.add(digest, row)
            for writer in writers:
                writer.finish()

    def _rows(self, earlier: Mapping[bool, "_Rows"]) -> Iterator[list[Half]]:
        """The activations of each image, one per version, computed where they are not there."""
        missing = (
            [(index, mirrored) for mirrored, known in earlier.items() if digest not in known]
            for index, digest in enumerate(self._digests)
        )
        computed = self._progress.steps(self._stages.compute(missing), "Computing activations", len(self._digests))
        for digest, rows in zip(self._digests, computed, strict=True):
            fresh = iter(rows)
            yield [known[digest] if digest in known else next(fresh) for known in earlier.values()]

    @contextlib.contextmanager
    def _earlier(self, mirrored: bool) -> Iterator["_Rows"]:
        """Rows of these images in files of other sets."""
        wanted, rows = set(self._digests), _Rows()
        with contextlib.ExitStack() as stack:
            for path in self._folder.glob(f"{self._stages.key(mirrored)}-*.npy"):
                with contextlib.suppress(FileNotFoundError, DamagedFileError):
                    file = stack.enter_context(contextlib.closing(ActivationFile(path)))
                    if any(digest in wanted and digest not in rows for digest in file.digests):
                        file.check_rows(self._progress)
                        rows.add(file)
            yield rows


def _checked(path: Path, progress: Progress) -> ActivationFile:
    file = ActivationFile(path)
    try:
        file.check_rows(progress)
    except BaseException:
        file.close()
        raise
    return file
