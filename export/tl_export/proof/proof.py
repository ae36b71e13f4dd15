"""What a proof found, as the summary in the file and as the parity file beside it."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from tl_export.options import Precision
from tl_export.proof.stages import StageResult
from tl_infer.model.contract import PROBABILITIES, ParitySummary, Task

PARITY_VERSION = 1


@dataclasses.dataclass(frozen=True, slots=True)
class RuntimeCheck:
    """The file against itself, run in another way.

    Attributes:
        name: `batch` (several images in one call against one by one) or `unoptimized` (without the runtime's graph
            optimisations against with).
        pictures: how many images were compared.
        largest: difference of any probability.
        tolerance: what is allowed.

    """

    name: str
    pictures: int
    largest: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the difference is allowed."""
        return self.largest <= self.tolerance


@dataclasses.dataclass(frozen=True, slots=True)
class Independent:
    """How far Pillow, torchvision's transforms and PyTorch are from our answers.

    Reported only; not a pass/fail criterion.

    Attributes:
        pictures: how many images were compared.
        top1_agreement: share with the same top-1, 0..1; NaN when there were none.
        largest: difference of any probability.
        gray_levels: largest difference of the preprocessed images.

    """

    pictures: int
    top1_agreement: float
    largest: float
    gray_levels: float


@dataclasses.dataclass(frozen=True, slots=True)
class Proof:
    """What was proven of a file.

    Attributes:
        pictures: how many image files were compared.
        top1_agreement: share of them with the same top-1 label, 0..1.
        stages: a row per stage, in the order of computation.
        checks: the file against itself.
        independent: beside the proof.
        precision: of the file.
        task: of the model; with `multi`, an image agrees if all its labels are the same.

    """

    pictures: int
    top1_agreement: float
    stages: tuple[StageResult, ...]
    checks: tuple[RuntimeCheck, ...]
    independent: Independent
    precision: Precision
    task: Task = "single"

    @property
    def compared(self) -> str:
        """What is the same on images that agree, in words."""
        return compared_by(self.task)

    @property
    def other_labels(self) -> int:
        """How many images have another top-1 than in PyTorch."""
        return self.pictures - round(self.top1_agreement * self.pictures)

    def summary(self) -> ParitySummary:
        """What goes into the file's metadata."""
        largest = {result.stage: _short(result.largest) for result in self.stages}
        checks = {check.name: _short(check.largest) for check in self.checks}
        return ParitySummary(
            pictures=self.pictures,
            top1_agreement=self.top1_agreement,
            max_probability_difference=largest[PROBABILITIES],
            stages=largest,
            tolerances={r.stage: r.tolerance for r in self.stages if r.tolerance is not None},
            batch_difference=checks["batch"],
            unoptimized_difference=checks["unoptimized"],
            independent_difference=_short(self.independent.largest) if self.independent.pictures else None,
        )

    def document(self, run: Path) -> dict[str, object]:
        """What goes into the parity file; images inside `run` are named relative to it."""
        beside = self.independent
        return {
            "stored_as": self.precision.value,
            "pictures": self.pictures,
            "top1_agreement": self.top1_agreement,
            "other_labels": self.other_labels,
            "stages": [
                {
                    "stage": result.stage,
                    "largest": _short(result.largest),
                    "mean": _short(result.mean),
                    "tolerance": result.tolerance,
                    "on_half": result.on_half,
                    "unit": result.unit,
                    "worst": _name(result.worst, run),
                }
                for result in self.stages
            ],
            "checks": [{**dataclasses.asdict(check), "largest": _short(check.largest)} for check in self.checks],
            "independent": dataclasses.asdict(beside) if beside.pictures else None,
        }


def compared_by(task: Task) -> str:
    """What is the same on images on which two models agree, in words."""
    return "top-1" if task == "single" else "set of labels"


def parity_json(
    proof: Proof,
    golden: Mapping[str, object],
    sha256: str,
    run: Path,
    more: Mapping[str, object],
) -> str:
    """The parity file's text.

    Args:
        proof: what was proven.
        golden: what was measured of the golden samples.
        sha256: of the model file that this belongs to.
        run: the run's folder.
        more: further parts, by name.

    """
    document = {"version": PARITY_VERSION, "model_sha256": sha256, **proof.document(run), "golden": golden, **more}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _short(value: float) -> float:
    """Three significant digits; the rest of a rounding error says nothing."""
    return float(f"{value:.3g}")


def _name(path: Path, run: Path) -> str:
    return str(path.relative_to(run) if path.is_relative_to(run) else path)
