"""The contract between the exported file and its callers: what the metadata key `tl.spec` says.

The runtime owns it because strangers embed the runtime; training and export import it from here. Reading is strict:
a file that says something we do not know is refused by the name of the field, never interpreted.
"""

import collections
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from tl_infer.errors import ModelFileError

FORMAT_VERSION = 1
SPEC_KEY = "tl.spec"
NAMES_KEY = "names"  # what other tools show as the classes; ours read `tl.spec`

INPUT_NAME = "image"
PROBABILITIES = "probabilities"
LOGITS = "logits"

Color = Literal["rgb", "gray"]
Fit = Literal["squash", "letterbox", "pad", "crop"]
Anchor = Literal["center", "top-left", "top-right", "bottom-left", "bottom-right"]
Resample = Literal["bilinear", "bicubic"]

MAX_SIDE_PX = 4096
MAX_LABELS = 100_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessSpec:
    """How an upright RGB picture becomes the network's input; the graph in the file is built from this.

    Attributes:
        size: (height, width) of the network's input, pixels, each 1..4096.
        mean, std: per channel R, G, B on the 0..1 scale; std above zero.
        color: `rgb`, or `gray`: luma as Pillow's mode "L", repeated to three channels.
        fit: `squash` ignores the aspect ratio; `letterbox` keeps it and pads the rest; `pad` does not enlarge;
            `crop` resizes the shorter side to `resize_px` and takes the centre.
        anchor: where the picture lies on the canvas of `letterbox` and `pad`.
        fill: RGB of that canvas, each 0..255.
        resample: the interpolation of every resize, with antialiasing when shrinking.
        resize_px: the shorter side for `crop`, pixels; None for every other fit.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.

    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    color: Color = "rgb"
    fit: Fit = "squash"
    anchor: Anchor = "center"
    fill: tuple[int, int, int] = (0, 0, 0)
    resample: Resample = "bilinear"
    resize_px: int | None = None

    def __post_init__(self) -> None:
        _check(len(self.size) == 2, "size", self.size, "height and width")
        for side_px in self.size:
            _check(1 <= side_px <= MAX_SIDE_PX, "size", self.size, f"1 to {MAX_SIDE_PX} pixels a side")
        for name in ("mean", "std", "fill"):
            _check(len(getattr(self, name)) == 3, name, getattr(self, name), "three values")
        _check(all(map(math.isfinite, self.mean)), "mean", self.mean, "finite numbers")
        _check(all(math.isfinite(s) and s > 0 for s in self.std), "std", self.std, "finite numbers above zero")
        _check(all(0 <= v <= 255 for v in self.fill), "fill", self.fill, "values from 0 to 255")
        for name, kind in (("color", Color), ("fit", Fit), ("anchor", Anchor), ("resample", Resample)):
            allowed = get_args(kind)
            _check(getattr(self, name) in allowed, name, getattr(self, name), " or ".join(allowed))
        if self.fit == "crop":
            fits = self.resize_px is not None and max(self.size) <= self.resize_px <= MAX_SIDE_PX
            _check(fits, "resize_px", self.resize_px, f"{max(self.size)} to {MAX_SIDE_PX} with fit crop")
        else:
            _check(self.resize_px is None, "resize_px", self.resize_px, "nothing unless fit is crop")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ParitySummary:
    """What the export proved before it let the file out: PyTorch against the real Classifier, on picture files.

    Attributes:
        pictures: how many files were compared.
        top1_agreement: share of them with the same top-1 label, 0..1.
        max_probability_difference: the largest absolute difference of any probability.

    """

    pictures: int
    top1_agreement: float
    max_probability_difference: float

    def __post_init__(self) -> None:
        _check(self.pictures >= 0, "pictures", self.pictures, "zero or more")
        _check(0 <= self.top1_agreement <= 1, "top1_agreement", self.top1_agreement, "0 to 1")
        difference = self.max_probability_difference
        _check(0 <= difference <= 1, "max_probability_difference", difference, "0 to 1")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Everything a caller needs to know of a model file, as stored under `tl.spec`.

    Attributes:
        labels: class names in the order of the outputs' last axis; unique, none blank.
        preprocess: what the graph does before the network.
        architecture, weights: the network's name and what it started from.
        temperature: the logits are divided by this before the softmax; above zero.
        abstain_below: below this top probability the model would rather not say; None when not fitted.
        data_fingerprint: SHA-256 (hex) over the pictures and labels of training.
        versions: library -> version that made the file.
        metrics: name -> value as measured on held-out pictures.
        parity: what the export proved; None in a file that never passed an export.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.

    """

    labels: tuple[str, ...]
    preprocess: PreprocessSpec
    architecture: str
    weights: str
    temperature: float = 1.0
    abstain_below: float | None = None
    data_fingerprint: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    parity: ParitySummary | None = None

    def __post_init__(self) -> None:
        _check(2 <= len(self.labels) <= MAX_LABELS, "labels", len(self.labels), f"2 to {MAX_LABELS} labels")
        blank = [label for label in self.labels if not label.strip()]
        _check(not blank, "labels", blank, "no empty label")
        if len(set(self.labels)) < len(self.labels):
            twice = collections.Counter(self.labels).most_common(1)[0][0]
            _check(False, "labels", twice, "no label twice")
        positive = math.isfinite(self.temperature) and self.temperature > 0
        _check(positive, "temperature", self.temperature, "a finite number above zero")
        below = self.abstain_below
        _check(below is None or 0 <= below <= 1, "abstain_below", below, "0 to 1, or null")

    def to_json(self) -> str:
        """The text to store under `tl.spec`; the same spec always gives the same text."""
        fields = {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(ModelSpec)}
        return json.dumps({"version": FORMAT_VERSION, **fields}, ensure_ascii=False, sort_keys=True, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> "ModelSpec":
        """The spec that a model file carries.

        Raises:
            ModelFileError: not JSON, another version, a missing, unknown, ill-typed or out-of-range field;
                the message names it.

        """
        try:
            document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise ModelFileError(f"{SPEC_KEY}: is not valid JSON: {error}") from error
        if not isinstance(document, dict):
            raise ModelFileError(f"{SPEC_KEY}: found {_kind(document)}, expected an object")
        version = document.pop("version", None)
        if version != FORMAT_VERSION or isinstance(version, bool):
            raise ModelFileError(
                f"{SPEC_KEY}: field 'version' is {_brief(version)}, this tl-toolkit reads {FORMAT_VERSION}; "
                "install the release that made the file, or export it again with tl-export"
            )
        spec: ModelSpec = _build(ModelSpec, _MODEL_FIELDS, document, SPEC_KEY)
        return spec


def _plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as JSON has them."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return dict(value)
    return value


def _check(holds: bool, field: str, found: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"{field}: found {_brief(found)}, expected {expected}")


def _brief(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true/false", type(None): "null"}
    return names.get(type(value), "a number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is there twice")
    return fields


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


# --- reading, one function per type: value, where -> checked value -------------------------------------------------

_Reader = Callable[[Any, str], Any]


def _of(kind: type, name: str) -> _Reader:
    def read(value: Any, where: str) -> Any:
        # bool is an int in Python, not in JSON.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ModelFileError(f"{where}: found {_kind(value)} ({_brief(value)}), expected {name}")
        return value

    return read


_text = _of(str, "a text")
_integer = _of(int, "a whole number")


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ModelFileError(f"{where}: found {_kind(value)} ({_brief(value)}), expected a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ModelFileError(f"{where}: found {_brief(value)}, expected a finite number")
    return number


def _optional(read: _Reader) -> _Reader:
    return lambda value, where: None if value is None else read(value, where)


def _tuple(read: _Reader) -> _Reader:
    def read_items(value: Any, where: str) -> tuple[Any, ...]:
        items = _of(list, "a list")(value, where)
        return tuple(read(item, f"{where}[{i}]") for i, item in enumerate(items))

    return read_items


def _mapping(read: _Reader) -> _Reader:
    def read_items(value: Any, where: str) -> Mapping[str, Any]:
        items = _of(dict, "an object")(value, where)
        return {key: read(item, f"{where}.{key}") for key, item in items.items()}

    return read_items


def _object(kind: type, fields: Mapping[str, _Reader]) -> _Reader:
    return lambda value, where: _build(kind, fields, _of(dict, "an object")(value, where), where)


def _build(kind: type, fields: Mapping[str, _Reader], document: dict[str, Any], where: str) -> Any:
    if missing := sorted(fields.keys() - document.keys()):
        raise ModelFileError(f"{where}: field '{missing[0]}' is missing; export the model again with tl-export")
    if unknown := sorted(document.keys() - fields.keys()):
        raise ModelFileError(
            f"{where}: unknown field {_brief(unknown[0])}; update tl-toolkit, or export the model again"
        )
    values = {name: read(document[name], f"{where}: field '{name}'") for name, read in fields.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ModelFileError(f"{where}: field {error}") from error


_PREPROCESS_FIELDS: Mapping[str, _Reader] = {
    "size": _tuple(_integer),
    "mean": _tuple(_number),
    "std": _tuple(_number),
    "color": _text,
    "fit": _text,
    "anchor": _text,
    "fill": _tuple(_integer),
    "resample": _text,
    "resize_px": _optional(_integer),
}
_PARITY_FIELDS: Mapping[str, _Reader] = {
    "pictures": _integer,
    "top1_agreement": _number,
    "max_probability_difference": _number,
}
_MODEL_FIELDS: Mapping[str, _Reader] = {
    "labels": _tuple(_text),
    "preprocess": _object(PreprocessSpec, _PREPROCESS_FIELDS),
    "architecture": _text,
    "weights": _text,
    "temperature": _number,
    "abstain_below": _optional(_number),
    "data_fingerprint": _text,
    "versions": _mapping(_text),
    "metrics": _mapping(_number),
    "parity": _optional(_object(ParitySummary, _PARITY_FIELDS)),
}
