"""The processes of a run: which one this is, and starting the others.

Lightning is imported only where several steps follow: it takes seconds, which a head on a frozen backbone does without.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tl_train.config.choices import KnownPrecision
from tl_train.config.groups import StepsConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def is_first_process() -> bool:
    """Whether this process writes the run's folder and talks to the user.

    Source: the variable that lightning-fabric, like torchrun, sets in the processes it starts.
    """
    return os.environ.get("LOCAL_RANK", "0") == "0"


def launch(steps: StepsConfig, precision: KnownPrecision) -> Fabric:
    """Device, precision and processes; starts the other processes, which run the program from its beginning."""
    from lightning_fabric import Fabric

    strategy = "ddp" if steps.devices > 1 else "auto"
    fabric = Fabric(accelerator="auto", devices=steps.devices, strategy=strategy, precision=precision)
    fabric.launch()
    return fabric
