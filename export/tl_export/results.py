"""What `export` and `check` return."""

import dataclasses
from pathlib import Path

from tl_export.adding.added_class import AddedClass
from tl_export.options import Precision
from tl_export.proof.golden import Golden
from tl_export.proof.proof import Proof
from tl_export.smaller.int8_result import QuantizeResult
from tl_infer.model.contract import ParitySummary
from tl_infer.results import SelfTest


@dataclasses.dataclass(frozen=True, slots=True)
class ExportResult:
    """A written model file.

    Attributes:
        path: the file.
        size_bytes: its size.
        outputs: the names of its outputs, in order.
        proof: what was proven of it.
        golden: its golden samples.
        int8: what came of int8, where it was asked for; the file may be float32 all the same.
        added: what came of adding a class, where that was asked for.
        page: the page for browsers, where it was asked for.

    """

    path: Path
    size_bytes: int
    outputs: tuple[str, ...]
    proof: Proof
    golden: Golden
    int8: QuantizeResult | None
    added: AddedClass | None = None
    page: Path | None = None

    @property
    def parity(self) -> ParitySummary:
        """The proof as it is stored in the file's metadata."""
        return self.proof.summary()


@dataclasses.dataclass(frozen=True, slots=True)
class CheckResult:
    """What a finished file was found to be.

    Attributes:
        opset: of its graph.
        outputs: the names of its outputs, in order.
        precision: how it stores its network.
        golden: what its golden samples showed.
        companions: names of the files beside it, proof and card, which belong to it.
        proof: against the PyTorch model; None without a run.

    """

    opset: int
    outputs: tuple[str, ...]
    precision: Precision
    golden: SelfTest
    companions: tuple[str, ...]
    proof: Proof | None
