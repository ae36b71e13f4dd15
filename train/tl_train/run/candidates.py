"""The architectures that `--arch auto`, or a list of names, compares."""

import dataclasses

from tl_train.config.network import ModelConfig
from tl_train.models.architectures import Architecture, find_architecture
from tl_train.models.published import hub_answers, timm_weights_at_hand
from tl_train.models.timm_models import TIMM_PREFIX
from tl_train.progress import Progress

# Licences that allow any use of the weights, as their publishers name them.
_PERMISSIVE = frozenset({"apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "unlicense", "cc0-1.0"})


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """One architecture to compare.

    Attributes:
        architecture: what it is, built for `size`.
        size: height and width of its input, pixels.

    """

    architecture: Architecture
    size: tuple[int, int]

    @staticmethod
    def of(name: str, size: tuple[int, int] | None) -> "Candidate":
        """The architecture of that name for inputs of a height and width; its own where that is None.

        Raises:
            ConfigError: no such architecture, or not for that size.

        """
        found = find_architecture(name)
        wanted = size or (found.size, found.size)
        return Candidate(found.for_size(wanted), wanted)


# What `auto` compares, the fastest first: the weights are installed, or can be downloaded. Each with a size of its own
# where that of its weights is no good choice: DINOv2 at its 518 pixels takes five times as long.
_INSTALLED = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
_DOWNLOADED: tuple[tuple[str, tuple[int, int] | None], ...] = (
    ("timm:tf_efficientnetv2_b0", None),
    ("timm:tf_efficientnetv2_b1", None),
    ("timm:mobilenetv4_conv_medium", None),
    ("timm:efficientnet_b0.ra4_e3600_r224_in1k", None),
    ("timm:tf_efficientnetv2_b2", None),
    ("timm:tf_efficientnetv2_b3", None),
    ("timm:convnext_nano.in12k_ft_in1k", None),
    ("timm:vit_small_patch14_dinov2", (224, 224)),
)


def candidates(model: ModelConfig, size: tuple[int, int] | None, progress: Progress) -> list[Candidate]:
    """The architectures that a configuration compares.

    Args:
        model: names them, or says `auto`.
        size: height and width that the user wants, pixels; None for each architecture's own.
        progress: is told where weights cannot be downloaded.

    Raises:
        ConfigError: a name is unknown, or a size is not possible.

    """
    if model.arch != "auto":
        names = list(dict.fromkeys(name.strip() for name in model.arch.split(",") if name.strip()))
        return [Candidate.of(name, size) for name in names]
    named = [(name, size) for name in _INSTALLED]
    others = [(name, size or own) for name, own in _DOWNLOADED]
    if not hub_answers():
        others = [(name, own) for name, own in others if timm_weights_at_hand(name.removeprefix(TIMM_PREFIX))]
        progress.note("No connection to huggingface.co: only architectures whose weights are here are compared")
    return [Candidate.of(name, own) for name, own in [*named, *others]]


def is_permissive(licence: str) -> bool:
    """Whether a licence of weights, as their publisher names it, allows any use."""
    return licence.lower() in _PERMISSIVE
