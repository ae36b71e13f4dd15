"""Images classified by Ray Data.

Only paths travel to the processes that classify (actors), which read the files themselves; the model goes once to
each node and is opened once in each actor. Ray starts an actor that died again and repeats what it had not finished.
"""

import collections
import dataclasses
import math
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

from tl_infer.classifier import Classifier
from tl_infer.errors import ImageError
from tl_infer.limits import DEFAULT_LIMITS, Limits
from tl_infer.model.modelfile import read_model
from tl_infer.ray.stores import fetch, is_remote, list_images
from tl_infer.results import Classification
from tl_infer.system.parallel import ordered_map

# Ray reports to its maker unless this is set before it is loaded; a host program that has set it has decided itself.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

_BLOCK: Final = 256  # images that are lost work if an actor dies
_BLOCKS: Final = 64  # at least, so that a few hundred images keep several actors busy
_WAITING: Final = 16  # files of an object store that one actor asks for at a time

Source = bytes | str | ImageError
Result = Classification | ImageError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What each actor is to do; the first four as for `Classifier.classify_many`.

    Attributes:
        top_k, threshold, min_familiarity, embedding: what each row holds.
        limits: what decoding an image may take.
        threads: processors of one actor.

    """

    top_k: int | None = 1
    threshold: float | None = None
    min_familiarity: float | None = None
    embedding: bool = False
    limits: Limits = DEFAULT_LIMITS
    threads: int = 1


def classify(
    source: Any,
    model: str | os.PathLike[str] | bytes,
    wanted: Wanted | None = None,
    *,
    actors: int | tuple[int, int] | None = None,
    skip: Collection[str] = (),
) -> Any:
    """Classify images on a Ray cluster: a row per image, in any order.

    Args:
        source: paths (files, folders with all files below them, or URIs as `s3://bucket/folder`), or a
            `ray.data.Dataset` with a column `path` and, unless the files are to be read from there, `bytes`.
        model: path or bytes of a model made by tl-export; read here, whatever the other nodes can reach.
        wanted: what to give, and the processors of an actor; None for the most probable class on one processor.
        actors: how many, or the least and the most; None for as many as the cluster has room for.
        skip: paths that have a row already.

    Returns:
        A `ray.data.Dataset`, computed as it is read, with the columns `path`, `label` (null if the model abstained or
        failed), `probability`, `top` (list of label and probability), `abstained`, `reason`, `familiarity`, `error`
        (null unless the image could not be classified) and `embedding` (null unless asked for).

    Raises:
        InputPathError: a path names nothing, or a folder has no files.
        ModelFileError: no such model, or it lacks what is asked for.
        ValueError: a value is out of range.

    """
    import ray
    import ray.data

    wanted = wanted or Wanted()
    data = _checked(model, wanted)
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    dataset = source if isinstance(source, ray.data.Dataset) else _of_paths(list_images(source), skip)
    if dataset is source and skip:
        skipped = frozenset(skip)
        dataset = dataset.filter(lambda row: row["path"] not in skipped)
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call,unused-ignore]
    room = max(1, int(resources.get("CPU", 1)) // wanted.threads)
    return dataset.map_batches(
        _Actor,
        batch_size=None,  # a block
        batch_format="pyarrow",
        fn_constructor_args=(ray.put(data), wanted),
        num_cpus=wanted.threads,
        concurrency=actors or (1, room),
    )


def _checked(model: str | os.PathLike[str] | bytes, wanted: Wanted) -> bytes:
    """The bytes of the model, once it has been opened: what is wrong is said here, and not by every actor."""
    data = read_model(model).data
    with Classifier(data, threads=1) as classifier:
        _results(classifier, [], wanted)
    return data


def _of_paths(paths: Sequence[str], skip: Collection[str]) -> Any:
    import pyarrow as pa
    import ray.data

    skipped = frozenset(skip)
    left = [path for path in paths if path not in skipped]
    size = min(_BLOCK, max(1, math.ceil(len(left) / _BLOCKS)))
    schema = pa.schema([("path", pa.string())])
    blocks = [pa.table({"path": left[start : start + size]}, schema) for start in range(0, max(1, len(left)), size)]
    return ray.data.from_arrow(blocks)


class _Actor:
    """An open model; classifies the images of a block."""

    def __init__(self, model: Any, wanted: Wanted) -> None:
        import ray

        self._wanted = wanted
        self._classifier = Classifier(ray.get(model), threads=wanted.threads, limits=wanted.limits, for_many=True)

    def __call__(self, table: Any) -> Any:
        paths = table.column("path").to_pylist()
        sources = table.column("bytes").to_pylist() if "bytes" in table.column_names else paths
        return _table(paths, _results(self._classifier, sources, self._wanted))


def _results(classifier: Classifier, sources: Sequence[Source], wanted: Wanted) -> list[Result]:
    """The results of `classify_many`, where files of object stores are read ahead, and may fail too."""
    failed: dict[int, ImageError] = {}
    fetched: Iterable[Source] = sources
    if any(map(is_remote, sources)):
        fetched = ordered_map(lambda each: fetch(each, wanted.limits) if is_remote(each) else each, sources, _WAITING)

    def good() -> Iterator[bytes | str]:
        for place, source in enumerate(fetched):
            if isinstance(source, ImageError):
                failed[place] = source
            else:
                yield source

    answers = classifier.classify_many(
        good(), wanted.top_k, threshold=wanted.threshold, min_familiarity=wanted.min_familiarity,
        embedding=wanted.embedding,
    )  # fmt: skip
    found = collections.deque(answers)
    return [failed[place] if place in failed else found.popleft() for place in range(len(sources))]


def _table(paths: Sequence[str], results: Sequence[Result]) -> Any:
    import pyarrow as pa

    score = pa.struct([("label", pa.string()), ("probability", pa.float64())])
    schema = pa.schema(
        [("path", pa.string()), ("label", pa.string()), ("probability", pa.float64()), ("top", pa.list_(score)),
         ("abstained", pa.bool_()), ("reason", pa.string()), ("familiarity", pa.float64()), ("error", pa.string()),
         ("embedding", pa.list_(pa.float32()))]
    )  # fmt: skip
    rows = [{"path": path} | _row(result) for path, result in zip(paths, results, strict=True)]
    return pa.Table.from_pylist(rows, schema)


def _row(result: Result) -> dict[str, object]:
    if isinstance(result, ImageError):
        return {"top": [], "abstained": False, "error": result.reason}
    return {
        "label": result.label,
        "probability": result.probability,
        "top": [dataclasses.asdict(score) for score in result.top],
        "abstained": result.abstained,
        "reason": result.reason,
        "familiarity": result.familiarity,
        "embedding": result.embedding,
    }
