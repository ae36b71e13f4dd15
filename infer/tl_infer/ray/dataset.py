"""Images classified by Ray Data.

Only paths travel to the processes that classify (actors), which read the files themselves; the model goes once to
each node and is opened once in each actor. Ray starts an actor that died again and repeats what it had not finished.
"""

import dataclasses
import math
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

from tl_infer.classifier import Classifier
from tl_infer.errors import ImageError, InputPathError
from tl_infer.limits import DEFAULT_LIMITS, Limits
from tl_infer.model.modelfile import read_model
from tl_infer.ray.stores import fetched, list_images
from tl_infer.results import Result, row_of
from tl_infer.text.safetext import is_unicode

# Ray reports to its maker unless this is set before it is loaded; a host program that has set it has decided itself.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

_BLOCK: Final = 256  # images that are lost work if an actor dies
_BLOCKS: Final = 64  # at least, so that a few hundred images keep several actors busy


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

    def classify(self, classifier: Classifier, images: Iterable[bytes | str | ImageError]) -> Iterator[Result]:
        """What `Classifier.classify_many` makes of images."""
        return classifier.classify_many(
            images, self.top_k, threshold=self.threshold, min_familiarity=self.min_familiarity, embedding=self.embedding
        )


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
        failed), `labels` (a list: all that the image has, of a model that gives several), `probability`, `top` (list
        of label and probability), `abstained`, `reason`, `familiarity`, `error` (null unless the image could not be
        classified) and `embedding` (null unless asked for).

    Raises:
        InputPathError: a path names nothing, a folder has no files, or a file's name is not UTF-8.
        ModelFileError: no such model, or it lacks what is asked for.
        ValueError: a value is out of range.

    """
    import ray
    import ray.data

    wanted = wanted or Wanted()
    data = read_model(model).data
    with Classifier(data, threads=1) as classifier:
        wanted.classify(classifier, [])  # what is wrong is said here, and not by every actor
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    dataset, skipped = source, frozenset(skip)
    if not isinstance(source, ray.data.Dataset):
        dataset = ray.data.from_arrow(blocks([path for path in list_images(source) if path not in skipped]))
    elif skipped:
        dataset = source.filter(lambda row: row["path"] not in skipped)
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call,unused-ignore]
    room = max(1, int(resources.get("CPU", 1)) // wanted.threads)
    return dataset.map_batches(
        _Actor,
        batch_size=None,  # a block
        batch_format="pyarrow",
        fn_constructor_args=(ray.put(data), wanted),
        num_cpus=wanted.threads,
        compute=_pool(actors or (1, room)),
    )


def blocks(paths: Sequence[str]) -> list[Any]:
    """Tables of paths, one or more.

    Raises:
        InputPathError: one is not UTF-8.

    """
    import pyarrow as pa

    for path in paths:
        if not is_unicode(path):
            raise InputPathError(
                f"{path}: a name that is not UTF-8, which rows of Ray cannot hold; rename the file, or classify it "
                "without Ray"
            )
    size = min(_BLOCK, max(1, math.ceil(len(paths) / _BLOCKS)))
    schema = pa.schema([("path", pa.string())])
    return [pa.table({"path": paths[start : start + size]}, schema) for start in range(0, max(1, len(paths)), size)]


def _pool(actors: int | tuple[int, int]) -> Any:
    from ray.data import ActorPoolStrategy

    least, most = (actors, actors) if isinstance(actors, int) else actors
    return ActorPoolStrategy(min_size=least, max_size=most)


class _Actor:
    """An open model; classifies the images of a block."""

    def __init__(self, model: Any, wanted: Wanted) -> None:
        import ray

        self._wanted = wanted
        self._classifier = Classifier(ray.get(model), threads=wanted.threads, limits=wanted.limits, for_many=True)

    def __call__(self, table: Any) -> Any:
        paths = table.column("path").to_pylist()
        sources = table.column("bytes").to_pylist() if "bytes" in table.column_names else paths
        results = self._wanted.classify(self._classifier, fetched(sources, self._wanted.limits))
        return _table(paths, list(results))


def _table(paths: Sequence[str], results: Sequence[Result]) -> Any:
    import pyarrow as pa

    score = pa.struct([("label", pa.string()), ("probability", pa.float64())])
    schema = pa.schema(
        [("path", pa.string()), ("label", pa.string()), ("labels", pa.list_(pa.string())),
         ("probability", pa.float64()), ("top", pa.list_(score)), ("abstained", pa.bool_()), ("reason", pa.string()),
         ("familiarity", pa.float64()), ("error", pa.string()), ("embedding", pa.list_(pa.float32()))]
    )  # fmt: skip
    rows = [
        {"path": path, "embedding": getattr(result, "embedding", None)} | row_of(result)
        for path, result in zip(paths, results, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema)
