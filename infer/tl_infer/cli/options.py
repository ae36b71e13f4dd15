"""The options of `tl-infer` as one value, checked against one another."""

import dataclasses
import os
from pathlib import Path
from typing import Literal

from tl_infer.limits import DEFAULT_LIMITS, Limits

STDIN = "-"  # as a path

Mode = Literal["copy", "move", "link"]  # how a file gets into its folder


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says.

    Attributes:
        model: the model file, or where it is on the hub.
        paths: files, folders and patterns, as `Inputs` takes them.
        nul: paths on standard input are separated by NUL.
        engine: `local`, or `ray` for a cluster.
        ray_address: of the cluster; None for one that is started here.
        out: where the rows go; ends in `.csv` or `.jsonl`, or is a folder with the engine `ray`.
        overwrite, resume: what to do with an `out` that exists.
        top_k: how many classes to name; None for all.
        threshold: abstain as unsure below this probability; None for the model's own.
        min_familiarity: abstain as unfamiliar below this familiarity; None for the model's own.
        sort_into: parent of a folder per class.
        copy, move, link: how files get there; `copy` if none is set.
        heatmaps: folder of the images with their heatmaps.
        embeddings: NumPy file of the embeddings.
        info, self_test: describe or test the model instead of classifying.
        sha256, providers, threads, limits: as for `Classifier`; `providers` may be empty.

    Raises:
        ValueError: an option needs another one, or excludes it.

    """

    model: Path | str
    paths: tuple[str, ...] = ()
    nul: bool = False
    engine: str = "local"
    ray_address: str | None = None
    out: Path | None = None
    overwrite: bool = False
    resume: bool = False
    top_k: int | None = 1
    threshold: float | None = None
    min_familiarity: float | None = None
    sort_into: Path | None = None
    copy: bool = False
    move: bool = False
    link: bool = False
    heatmaps: Path | None = None
    embeddings: Path | None = None
    info: bool = False
    self_test: bool = False
    sha256: str | None = None
    providers: tuple[str, ...] = ()
    threads: int | None = None
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        self._check_paths()
        self._check_sorting()
        if self.nul and STDIN not in self.paths:
            raise ValueError("-0 needs the PATH '-', standard input.")
        self._check_resume()
        self._check_engine()
        check_seconds(self.limits)

    @property
    def is_one_file(self) -> bool:
        """Whether the paths are that of a single file; quick to find out."""
        return len(self.paths) == 1 and self.paths[0] != STDIN and os.path.isfile(self.paths[0])  # noqa: PTH113

    @property
    def sort_mode(self) -> Mode:
        """How files get into the folders of `sort_into`."""
        return "move" if self.move else "link" if self.link else "copy"

    def _check_paths(self) -> None:
        describes = self.info or self.self_test
        if not self.paths and not describes:
            raise ValueError("Missing argument 'PATH...'.")
        if self.paths and describes:
            raise ValueError("--info and --self-test take no PATH; classify in a separate call.")
        for name in ("out", "sort_into", "heatmaps", "embeddings"):
            if getattr(self, name) is not None and not self.paths:
                raise ValueError(f"--{name.replace('_', '-')} needs a PATH.")

    def _check_sorting(self) -> None:
        modes = [name for name in ("copy", "move", "link") if getattr(self, name)]
        if len(modes) > 1:
            raise ValueError("--copy, --move and --link exclude one another.")
        if modes and self.sort_into is None:
            raise ValueError(f"--{modes[0]} needs --sort-into.")

    def _check_resume(self) -> None:
        if self.resume and self.overwrite:
            raise ValueError("--resume and --overwrite exclude one another.")
        if self.resume and self.out is None:
            raise ValueError("--resume needs --out.")
        if self.resume and self.embeddings is not None:
            raise ValueError("--embeddings does not work with --resume; compute them in a separate run.")

    def _check_engine(self) -> None:
        if self.engine != "ray":
            if self.ray_address is not None:
                raise ValueError("--ray-address needs --engine ray.")
            return
        if self.out is None:
            raise ValueError("--engine ray needs --out FOLDER.")
        for name in ("sort_into", "heatmaps", "embeddings", "providers"):
            if getattr(self, name):
                option = name.removesuffix("s") if name == "providers" else name.replace("_", "-")
                raise ValueError(f"--{option} does not work with --engine ray.")


def check_seconds(limits: Limits) -> None:
    """Refuse a time limit that nothing would keep: only a process of its own can be ended.

    Raises:
        ValueError: --max-seconds was given, and decoding is not isolated.

    """
    if limits.max_seconds != DEFAULT_LIMITS.max_seconds and not limits.isolate:
        raise ValueError("--max-seconds needs --isolate.")
