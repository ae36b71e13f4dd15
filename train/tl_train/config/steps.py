"""How a network is trained, step by step."""

import dataclasses
import math

from tl_train.config.choices import (
    STAGES_WARMUP,
    TRAINS_STAGES,
    Augment,
    Optimizer,
    Precision,
    Schedule,
)
from tl_train.config.options import check, check_types, option


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepsConfig:
    """Training by gradient steps; a penalised head on a frozen backbone uses none of it."""

    augment: Augment = option(
        "none",
        help="Random changes to the training images. light: mirroring, slight crops and changes of brightness; "
        "standard: more of it, and rotation, shearing, recolouring. With modes auto and partial: mirroring only, "
        "where harmless.",
    )
    epochs: int = option(10, help="Passes over the training images; 0: chosen automatically (modes auto and partial).")
    head_epochs: int = option(3, help="Epochs on the head alone with mode gradual.")
    batch_size: int = option(8, help="Images per step.")
    lr: float = option(1e-3, help="Learning rate.")
    finetune_lr: float | None = option(
        None, shown="a tenth of --lr", help="Learning rate of all parameters with mode gradual."
    )
    optimizer: Optimizer = option("adam", help="Optimizer; adamw has weight decay.")
    weight_decay: float = option(0.01, help="AdamW weight decay, except on biases and norms.")
    schedule: Schedule = option("constant", help="Learning-rate schedule.")
    warmup_epochs: float = option(
        0.0,
        shown=f"0; modes {', '.join(TRAINS_STAGES)}: {STAGES_WARMUP:.0%} of the epochs",
        help="Epochs over which the learning rate rises from zero; may be a fraction.",
    )
    ema: float = option(
        0.0,
        metavar="DECAY",
        shown="",
        help="Decay of a moving average of the weights, kept in their place; often 0.99.",
    )
    patience: int | None = option(
        None,
        metavar="EPOCHS",
        shown="",
        help="Stop after this many epochs without a lower validation loss and keep the best epoch's weights.",
    )
    devices: int = option(1, help="Processes that share each batch.")
    precision: Precision = option(
        "auto",
        help="Numeric precision, as lightning-fabric names it. auto: with modes full and gradual, bf16-mixed "
        "where a trial finds it faster; else 32-true.",
    )
    redraw_val: bool = option(
        False,
        on_command_line=False,
        help="Draw new validation images every epoch, as the chapter does. They are trained on in other epochs, so the "
        "validation curves are optimistic.",
    )

    def __post_init__(self) -> None:
        check_types(self)
        check(self.epochs >= 0, "epochs", self.epochs, "0 or more")
        # Batch normalisation has no statistics of a single image whose features are one pixel.
        check(self.batch_size >= 2, "batch_size", self.batch_size, "2 or more")
        self._check_rates()
        check(0 <= self.ema < 1, "ema", self.ema, "0 (none) to below 1, often 0.99")
        check(self.patience is None or self.patience >= 1, "patience", self.patience, "1 or more")
        steady = self.patience is None or not self.redraw_val
        check(steady, "patience", self.patience, "nothing with redraw_val, whose validation images change")
        check(1 <= self.devices <= 64, "devices", self.devices, "1 to 64")
        shared = self.batch_size % self.devices == 0 and self.batch_size >= 2 * self.devices
        expected = f"a multiple of {self.devices} devices, two or more for each"
        check(shared, "batch_size", self.batch_size, expected)

    @property
    def use_of_validation(self) -> str:
        """Why an accuracy on the validation images is too high, in words that follow them; "" where it is not."""
        if self.redraw_val:
            return "were drawn anew in every epoch and trained on in the others"
        return "" if self.patience is None else "were not trained on, but chose the epoch whose weights are kept"

    def _check_rates(self) -> None:
        check(math.isfinite(self.lr) and self.lr > 0, "lr", self.lr, "a number above zero")
        check(0 <= self.weight_decay < 1, "weight_decay", self.weight_decay, "0 to below 1")
        within = 0 <= self.warmup_epochs < max(1, self.epochs)
        check(within, "warmup_epochs", self.warmup_epochs, f"0 to below the {self.epochs} epochs")
        positive = self.finetune_lr is None or (math.isfinite(self.finetune_lr) and self.finetune_lr > 0)
        check(positive, "finetune_lr", self.finetune_lr, "a number above zero")
