"""`--info`: what a model file says about itself, for people."""

from tl_infer.classifier import Classifier
from tl_infer.errors import and_more
from tl_infer.model.contract import FamiliaritySpec, ModelSpec, ParitySummary, PreprocessSpec
from tl_infer.text.safetext import printable

_MOST_LABELS = 20


def info_lines(classifier: Classifier) -> list[str]:
    """Name and value, one per line, without control characters."""
    spec = classifier.spec
    facts = [
        ("classes", _labels(spec.labels)),
        ("input", "uint8 [N, H, W, 3], RGB, upright, any size"),
        *_bit_depth(classifier.limits.bit_depth),
        ("preprocessing", _preprocessing(spec.preprocess)),
        ("outputs", ", ".join(classifier.outputs)),
        *_deciding(spec),
        *_familiarity(spec.familiarity),
        ("network", f"{spec.architecture}, weights {spec.weights}"),
        ("metrics", ", ".join(f"{name} {value:g}" for name, value in spec.metrics.items()) or "none"),
        ("parity", _parity(spec.parity)),
        ("training data", spec.data_fingerprint or "unknown"),
        ("made with", ", ".join(f"{name} {version}" for name, version in spec.versions.items()) or "unknown"),
        ("SHA-256", classifier.sha256),
    ]
    width = max(len(name) for name, _ in facts)
    return [f"{name:<{width}}  {printable(value)}" for name, value in facts]


def _bit_depth(bits: int | None) -> list[tuple[str, str]]:
    return [] if bits is None else [("16-bit images", f"values of {bits} bits")]


def _deciding(spec: ModelSpec) -> list[tuple[str, str]]:
    """How the answers come from the network's."""
    if spec.task == "single":
        below = "none: never abstains" if spec.abstain_below is None else f"{spec.abstain_below:g}"
        return [("temperature", f"{spec.temperature:g}"), ("threshold", below)]
    values = (("temperatures", spec.temperatures), ("thresholds", spec.thresholds))
    shown = [(name, [f"{label} {value:g}" for label, value in zip(spec.labels, found or (), strict=True)])
             for name, found in values]  # fmt: skip
    return [("task", "several labels: those from their thresholds on"),
            *((name, and_more(texts, _MOST_LABELS)) for name, texts in shown)]  # fmt: skip


def _familiarity(spec: FamiliaritySpec | None) -> list[tuple[str, str]]:
    if spec is None:
        return []
    about = f"unfamiliar below {spec.unfamiliar_below:g}, measured on {spec.images} held-back images"
    return [("familiarity", about)]


def _labels(labels: tuple[str, ...]) -> str:
    return f"{len(labels)}: {and_more(labels, _MOST_LABELS)}"


def _preprocessing(spec: PreprocessSpec) -> str:
    """In the order of the steps."""
    crop = "" if spec.resize_px is None else f" from {spec.resize_px} pixels"
    place = f", {spec.anchor}, fill {spec.fill}" if spec.fit in ("letterbox", "pad") else ""
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (spec.mean, spec.std))
    size = f"{spec.size[0]} x {spec.size[1]}"
    return f"{spec.color}, {spec.fit} to {size}{crop}{place}, {spec.resample}, mean {mean}, std {std}"


def _parity(parity: ParitySummary | None) -> str:
    if parity is None:
        return "not proven"
    return (
        f"{parity.pictures} images compared with PyTorch, same label {parity.top1_agreement:.2%}, "
        f"largest difference of a probability {parity.max_probability_difference:.2g}"
    )
