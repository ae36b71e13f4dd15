"""Each file with its result, and its heatmaps where they are asked for; computed ahead on all cores, given in order."""

import collections
import functools
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tl_infer.classifier import Classifier
from tl_infer.cli.inputs import Files
from tl_infer.cli.options import Options
from tl_infer.errors import ImageError
from tl_infer.images import Pixels, load_image
from tl_infer.model.contract import PreprocessSpec
from tl_infer.results import Classification, Result, Vector
from tl_infer.system.parallel import OrderedMap, available_threads, ordered_map

# Images with a heatmap, as JPEG, or why it cannot be one; each by its label, "" where an image has one.
Drawn = Mapping[str, bytes | OSError]
Answer = tuple[Path, Result, Drawn]

_JPEG_QUALITY = 90
_JPEG_SIDE_PX = 65_500  # libjpeg's limit


def classify_files(classifier: Classifier, options: Options, files: Files) -> "Answers | OrderedMap[Answer]":
    """The answers of all files; a file that arrives late does not keep back those before it."""
    paths = _Remembered(files)
    answers = Answers(paths, _classified(classifier, options, paths))
    if options.heatmaps is None:
        return answers
    return ordered_map(functools.partial(_with_overlays, classifier), answers, options.threads or available_threads())


class Answers(Iterator[Answer]):
    """Each file with its result."""

    def __init__(self, paths: "_Remembered", results: Iterator[Result]) -> None:
        self._paths, self._results = paths, results
        self.ready: Callable[[], bool] = getattr(results, "ready", lambda: True)

    def __next__(self) -> Answer:
        result = next(self._results)
        return self._paths.taken.popleft(), result, {}

    def close(self) -> None:
        """Stop the work."""
        if isinstance(self._results, OrderedMap):
            self._results.close()


class _Remembered(Iterator[Path]):
    """Files, kept until their results are there: results are computed ahead."""

    def __init__(self, files: Files) -> None:
        self.taken: collections.deque[Path] = collections.deque()
        self._files = files
        self.ready = files.ready

    def __next__(self) -> Path:
        path = next(self._files)
        self.taken.append(path)
        return path


def _classified(classifier: Classifier, options: Options, paths: Iterator[Path]) -> Iterator[Result]:
    wanted: dict[str, Any] = {
        "threshold": options.threshold,
        "min_familiarity": options.min_familiarity,
        "embedding": options.embeddings is not None,
        "heatmap": options.heatmaps is not None,
    }
    if options.is_one_file:  # on all cores
        return (_one(functools.partial(classifier.classify, path, options.top_k, **wanted)) for path in paths)
    return classifier.classify_many(paths, options.top_k, **wanted)


def _one(classify: Callable[[], Classification]) -> Result:
    try:
        return classify()
    except ImageError as error:
        return error


def _with_overlays(classifier: Classifier, answer: Answer) -> Answer:
    path, result, _ = answer
    if isinstance(result, ImageError) or result.heatmap is None:
        return answer
    maps = {"": result.heatmap} if result.heatmaps is None else result.heatmaps
    if not maps:
        return answer
    try:
        pixels = load_image(path, classifier.limits)
    except ImageError as error:  # it was there a moment ago
        return path, error, {}
    preprocess = classifier.spec.preprocess
    return path, result, {label: _overlay(pixels, heatmap, preprocess) for label, heatmap in maps.items()}


def _overlay(pixels: Pixels, heatmap: Vector, preprocess: PreprocessSpec) -> bytes | OSError:
    from tl_infer.heatmaps import draw_overlay  # here, because most runs draw nothing

    height, width, _ = pixels.shape
    if max(width, height) > _JPEG_SIDE_PX:
        return OSError(f"{width} x {height} pixels, and a JPEG has {_JPEG_SIDE_PX} a side at most")
    buffer = io.BytesIO()
    draw_overlay(pixels, heatmap, preprocess).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
