"""What decides whether int8 may replace float: what was shown of accuracy, log-loss and time, in pairs."""

import dataclasses

from tl_export.options import Gate
from tl_export.smaller.measure import Loss
from tl_export.smaller.speed import Speed

# What a point of accuracy is worth in nats: on a network that is right on nine of ten images, a change that costs half
# a point costs about 0.01 nats.
_NATS_PER_SHARE = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Allowance:
    """What int8 may cost.

    Attributes:
        max_drop: accuracy, as a share (0.005 is half a point), 0..1.
        gate: what has to be shown of it.

    Raises:
        ValueError: max_drop is out of range.

    """

    max_drop: float
    gate: Gate = "shown"

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= 1:
            raise ValueError(f"max_drop: found {self.max_drop}, expected 0 to 1, as a share")

    @property
    def log_loss(self) -> float:
        """What the log-loss may rise by, nats; it sees what a few hundred answers right or wrong cannot."""
        return _NATS_PER_SHARE * self.max_drop

    def objections(self, loss: Loss, speed: Speed) -> list[str]:
        """Why int8 is refused, a phrase each; none where it is kept.

        With the gate `shown` a loss has to be shown: its 95% interval lies above what is allowed. With `strict` it is
        the opposite that has to be shown. Either way int8 must not be shown to be slower.
        """
        if self.gate == "none":
            return []
        found = []
        if self._too_much(loss.accuracy.low, loss.accuracy.high, self.max_drop):
            found.append(f"{'more' if self.gate == 'shown' else 'maybe more'} accuracy lost than allowed")
        if self._too_much(loss.log_loss.low, loss.log_loss.high, self.log_loss):
            found.append(f"log-loss {'rose' if self.gate == 'shown' else 'may have risen'} by more than allowed")
        if speed.ratio.high < 1:
            found.append("slower here than float32")
        return found

    def shows_loss(self, loss: Loss) -> bool:
        """Whether more was shown to be lost than is allowed."""
        return loss.accuracy.low > self.max_drop or loss.log_loss.low > self.log_loss

    def _too_much(self, low: float, high: float, allowed: float) -> bool:
        return low > allowed if self.gate == "shown" else not high <= allowed
