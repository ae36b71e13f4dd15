"""What timm notes of its models; importing this module imports neither timm nor torch."""

from typing import Any

from tl_train.errors import ConfigError

TIMM_PREFIX = "timm:"
NO_HEAD = "has no single linear layer as its head, so it cannot be fine-tuned here"


def timm_configuration(timm_name: str) -> Any:
    """What timm notes of a model's default weights: `input_size`, `mean`, `std`, `classifier`, `license`, ...

    Raises:
        ConfigError: the model has no head that is one layer.

    """
    import timm

    config = timm.get_pretrained_cfg(timm_name)
    if config is None or not isinstance(config.classifier, str):
        raise ConfigError(f"arch: '{TIMM_PREFIX}{timm_name}' {NO_HEAD}")
    if config.input_size[0] != 3:
        raise ConfigError(f"arch: '{TIMM_PREFIX}{timm_name}' takes {config.input_size[0]} channels, expected 3 (RGB)")
    return config


def timm_licence(config: Any) -> str:
    """Of a timm model's default weights, as their publisher names it; "" where it is not stated."""
    return "" if config.license in (None, "unknown") else str(config.license)


def timm_source(config: Any) -> str:
    """Where a timm model's default weights come from."""
    if config.hf_hub_id:
        return f"huggingface.co/{config.hf_hub_id}"
    return str(config.url or "none")
