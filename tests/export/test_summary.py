"""What the program prints."""

from pathlib import Path

from tl_export.options import Precision
from tl_export.proof.proof import Independent, Proof, RuntimeCheck
from tl_export.proof.stages import StageResult
from tl_export.summary import proof_lines

PROOF = Proof(
    pictures=40,
    top1_agreement=0.975,
    stages=(
        StageResult("decode", 0.0, 0.0, Path("first.png"), 0.0),
        StageResult("logits", 1.5e-6, 2.5e-7, Path("photos/[red] a very long name of an image file.jpeg"), None),
    ),
    checks=(RuntimeCheck("batch", 8, 2e-7, 1e-4),),
    independent=Independent(32, 0.96875, 0.0125, 1.0),
    precision=Precision.FP32,
)


def test_figures_stand_in_columns_and_names_as_they_are():
    assert list(proof_lines(PROOF)) == [
        "stage        largest     mean  allowed  unit; worst image",
        "decode             0        0        0  grey levels",
        "logits       1.5e-06  2.5e-07        -  of the largest value or 1; [red] a very",
        "                                        long name of an image file.jpeg",
        "batch          2e-07            0.0001  of probability, 8 images",
        "independent    0.013                    of probability, 32 images, top-1 the",
        "                                        same on 96.9%, preprocessed images up to",
        "                                        1.0 grey levels apart",
        "Verified on 40 images: the same top-1 on 39, another on 1",
    ]
