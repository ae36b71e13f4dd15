"""`Setup`: what a run needs before its first step; `Identity`: what must match for an interrupted run to resume."""

import dataclasses
from typing import Any

from tl_train.config import TrainConfig
from tl_train.data.dataset import Dataset
from tl_train.models.network import Network
from tl_train.preflight.findings import Preflight
from tl_train.preprocess.graph import Preprocessor
from tl_train.prior.prior import Prior


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """What a run is made of; a checkpoint is continued only where all of this is the same.

    Attributes:
        config: of the run.
        data_fingerprint: of its images, labels and split.
        versions: of the libraries that compute.
        threads: of torch; sums are split among them.

    """

    config: TrainConfig
    data_fingerprint: str
    versions: dict[str, str]
    threads: int

    def difference(self, stored: dict[str, Any]) -> list[str]:
        """What differs from the identity stored in a checkpoint, in words."""
        differences = []
        here = self.as_dict()
        for name in ("versions", "config"):
            for key in sorted(here[name].keys() | stored[name].keys()):
                was, now = stored[name].get(key), here[name].get(key)
                if key == "epochs" and isinstance(was, int) and 0 < was < now:
                    continue  # more epochs go on where fewer ended
                if was != now:
                    differences.append(f"{key} was {was}, is {now}")
        if stored["threads"] != self.threads:
            differences.append(f"threads were {stored['threads']}, are {self.threads}")
        if stored["data_fingerprint"] != self.data_fingerprint:
            differences.append("the images, labels or their split have changed")
        return differences

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "config": self.config.fields(),
            "data_fingerprint": self.data_fingerprint,
            "versions": self.versions,
            "threads": self.threads,
        }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SharedSetup:
    """The values of a run that each of its processes needs for its share of the steps.

    Attributes:
        identity: configuration, fingerprint of the data, versions.
        dataset: the images in three parts.
        preprocessor: makes the network's input; its spec goes into the exported file.
        network: what is trained, in place.

    """

    identity: Identity
    dataset: Dataset
    preprocessor: Preprocessor
    network: Network

    @property
    def config(self) -> TrainConfig:
        """The configuration of the run."""
        return self.identity.config


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setup(SharedSetup):
    """The values of a run; whatever the user got wrong was found while making them.

    Attributes:
        findings: what a look at the images told.
        prior: what the head is drawn to; None for zero.

    """

    findings: Preflight
    prior: Prior | None
