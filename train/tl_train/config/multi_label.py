"""What goes together with several labels per image, and what does not."""

from tl_train.config.data import DataConfig
from tl_train.config.network import HeadConfig, ModelConfig
from tl_train.config.options import check
from tl_train.config.steps import StepsConfig

_MODES = ("head", "gradual", "full")


def check_multi_label(data: DataConfig, model: ModelConfig, head: HeadConfig, steps: StepsConfig) -> None:
    """Refuse what means nothing for images with several labels, or is not there for them.

    Raises:
        ConfigError: names the field.

    """
    if not data.multi_label:
        check(head.label_precision is None, "label_precision", head.label_precision, "multi_label with it")
        return
    check(model.mode in _MODES, "mode", model.mode, f"{', '.join(_MODES)} or auto (head) with multi_label")
    check(not model.compares, "arch", model.arch, "one architecture with multi_label")
    check(head.fit == "penalised", "head_fit", head.fit, "penalised with multi_label")
    check(head.prior in ("auto", "none"), "prior", head.prior, "none with multi_label")
    check(model.label_smoothing == 0, "label_smoothing", model.label_smoothing, "0 with multi_label")
    check(model.class_weights == "none", "class_weights", model.class_weights, "none with multi_label")
    check(not data.fix, "fix", data.fix, "no corrections with multi_label; correct the labels themselves")
    check(not data.unknown, "unknown", data.unknown, "nothing with multi_label, whose models have no familiarity")
    check(not steps.redraw_val, "redraw_val", steps.redraw_val, "no redrawing with multi_label")
