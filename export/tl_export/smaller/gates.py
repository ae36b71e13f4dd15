"""What decides whether int8 may replace float: what was shown of accuracy or mAP, log-loss and time, in pairs."""

import dataclasses

from tl_export.options import Gate
from tl_export.smaller.judged import Loss, Metric
from tl_export.smaller.measure import Estimate
from tl_export.smaller.speed import Speed


@dataclasses.dataclass(frozen=True, slots=True)
class Allowance:
    """What int8 may cost.

    Attributes:
        max_drop: accuracy, or mAP of several labels, as a share (0.005 is half a point), 0..1.
        gate: what has to be shown of it.

    Raises:
        ValueError: max_drop is out of range.

    """

    max_drop: float
    gate: Gate = "shown"

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= 1:
            raise ValueError(f"max_drop: found {self.max_drop}, expected 0 to 1, as a share")

    def log_loss(self, metric: Metric) -> float:
        """What the log-loss may rise by, nats; it sees what a few hundred answers right or wrong cannot."""
        return metric.nats_per_share * self.max_drop

    def objections(self, loss: Loss, speed: Speed) -> list[str]:
        """Why int8 is refused, a phrase each; none where it is kept.

        With the gate `shown` a loss has to be shown: its 95% interval lies above what is allowed. With `strict` it is
        the opposite that has to be shown. Either way int8 must not be shown to be slower.
        """
        if self.gate == "none":
            return []
        found = []
        if self._too_much(loss.score, self.max_drop):
            found.append(f"{'more' if self.gate == 'shown' else 'maybe more'} {loss.metric.name} lost than allowed")
        if self._too_much(loss.log_loss, self.log_loss(loss.metric)):
            found.append(f"log-loss {'rose' if self.gate == 'shown' else 'may have risen'} by more than allowed")
        if speed.ratio.high < 1:
            found.append("slower here than float32")
        return found

    def shows_loss(self, loss: Loss) -> bool:
        """Whether more was shown to be lost than is allowed."""
        return loss.score.low > self.max_drop or loss.log_loss.low > self.log_loss(loss.metric)

    def _too_much(self, lost: Estimate, allowed: float) -> bool:
        return lost.low > allowed if self.gate == "shown" else not lost.high <= allowed
