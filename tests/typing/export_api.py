"""The public face of tl_export as its callers use it; mypy checks this file, nothing runs it."""

from pathlib import Path
from typing import assert_type

from tl_export import (
    CheckResult,
    ExportError,
    ExportOptions,
    ExportResult,
    Precision,
    VerificationError,
    check,
    export,
)
from tl_infer import ParitySummary, SelfTest, TlError


def exporting(run: Path) -> None:
    assert_type(export(run), ExportResult)
    assert_type(export("runs/photos", "photos.onnx", overwrite=True), ExportResult)
    options = ExportOptions(
        outputs=["probabilities", "embedding"],
        precision=Precision.INT8,
        max_drop=0.01,
        golden="synthetic",
        images=[run / "held_out", "more-photos"],
        verify_count=100,
    )
    result = export(run, run / "photos.onnx", options)
    assert_type(result.path, Path)
    assert_type(result.size_bytes, int)
    assert_type(result.outputs, tuple[str, ...])
    assert_type(result.parity, ParitySummary)
    assert_type(result.proof.top1_agreement, float)
    assert_type(result.golden.missed(), list[str])
    more = export(run, options=ExportOptions(add_class=("fox", run / "fox-photos")))
    if more.added is not None:
        assert_type(more.added.accuracy_now, float)
        assert_type(more.added.recognised, int)
    if result.int8 is not None:
        assert_type(result.int8.kept, bool)
        assert_type(result.int8.reason, str)


def checking(model: Path) -> None:
    result = check(model)
    assert_type(result, CheckResult)
    assert_type(result.opset, int)
    assert_type(result.precision, Precision)
    assert_type(result.golden, SelfTest)
    check("photos.onnx", "runs/photos", images=["more-photos"], verify_count=100)
    check("more.onnx", "runs/photos", add_class=("fox", "fox-photos"))


def refused(run: Path) -> None:
    ExportOptions(golden="none")  # type: ignore[arg-type]
    export(run, form="int8")  # type: ignore[call-arg]
    check(run, [run])  # type: ignore[arg-type]


def failing(run: Path) -> TlError | None:
    try:
        export(run)
    except (ExportError, VerificationError) as error:
        return error
    return None
