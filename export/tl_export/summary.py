"""What the program prints of a result, line by line; plain text.

Lines with a path that is to be copied are apart from the others, which a terminal may break between words.
"""

from collections.abc import Iterator

from tl_export.adding.added_class import AddedClass
from tl_export.proof.proof import Proof
from tl_export.results import CheckResult, ExportResult
from tl_export.smaller.int8_result import QuantizeResult
from tl_train.tables import aligned


def export_lines(result: ExportResult) -> Iterator[str]:
    """What was proven, and what the file holds."""
    yield from proof_lines(result.proof)
    if result.int8 is not None:
        yield from int8_lines(result.int8)
    if result.added is not None:
        yield from added_lines(result.added)
    golden = result.golden
    faults = ", ".join(f"{fault} would shift probabilities by {gap:.2g}" for fault, gap in golden.faults.items())
    yield f"Golden samples: {len(golden.samples.samples)}, tolerance {golden.samples.tolerance:g}; {faults}"
    form = f"{result.size_bytes / 1e6:.1f} MB, {result.proof.precision.value}"
    yield f"Structure: one file, {form}, outputs {', '.join(result.outputs)}"


def written_lines(result: ExportResult) -> Iterator[str]:
    """Where the files are that were written."""
    yield f"Model: {result.path}"
    if result.page is not None:
        yield f"Page: {result.page}"


def check_lines(result: CheckResult) -> Iterator[str]:
    """What a finished file was found to be."""
    outputs = ", ".join(result.outputs)
    yield f"Structure: one file, {result.precision.value}, opset {result.opset}, outputs {outputs}"
    golden = result.golden
    yield (
        f"Golden samples: {golden.samples}, largest difference {golden.max_difference:.1e}, "
        f"allowed {golden.tolerance:g}"
    )
    if result.companions:
        yield f"Beside it, of the same export: {', '.join(result.companions)}"
    if result.proof is not None:
        yield from proof_lines(result.proof)


def proof_lines(proof: Proof) -> Iterator[str]:
    """A table with a row per stage and check, and the agreement."""
    rows = [("stage", "largest", "mean", "allowed", "unit; worst image")]
    for row in proof.stages:
        worst = f"; {row.worst.name}" if row.largest else ""
        rows.append((row.stage, f"{row.largest:.2g}", f"{row.mean:.2g}", row.allowed, f"{row.unit}{worst}"))
    for check in proof.checks:
        unit = f"of probability, {check.pictures} images"
        rows.append((check.name, f"{check.largest:.2g}", "", f"{check.tolerance:.2g}", unit))
    beside = proof.independent
    if beside.pictures:
        found = (
            f"of probability, {beside.pictures} images, {proof.compared} the same on {beside.top1_agreement:.1%}, "
            f"preprocessed images up to {beside.gray_levels:.1f} grey levels apart"
        )
        rows.append(("independent", f"{beside.largest:.2g}", "", "", found))
    yield from aligned(rows, names=1, notes=1)
    others = proof.other_labels
    same = "all" if others == 0 else f"{proof.pictures - others}, another on {others}"
    yield f"Verified on {proof.pictures} images: the same {proof.compared} on {same}"


def added_lines(added: AddedClass) -> Iterator[str]:
    """How well the added class is recognised, and what the others lose by it."""
    yield (
        f"Added class '{added.name}' from {added.images} images: {added.recognised} of them are recognised when it is "
        "made from the others"
    )
    if not added.held_out:
        yield "What the other classes lose is unknown: the run held out no images"
        return
    taken = sum(row.taken for row in added.old)
    yield (
        f"The other classes, {added.held_out} {added.part} images: accuracy {added.accuracy:.2%} before, "
        f"{added.accuracy_now:.2%} now; {taken} answered with '{added.name}'"
    )
    for row in added.losing():
        yield f"  {row.label}: {row.correct} of {row.images} correct before, {row.correct_now} now"


def int8_lines(result: QuantizeResult) -> Iterator[str]:
    """Both forms side by side, what was tried, and what was kept."""
    rows = [("", "MB", "ms", result.int8.metric.name, "log-loss", "agreement")]
    for row in result.rows():
        size, loss = f"{row.size_bytes / 1e6:.1f}", f"{row.log_loss:.4f}"
        rows.append((row.name, size, f"{row.ms:.2f}", f"{row.score:.2%}", loss, f"{row.agreement:.2%}"))
    yield from aligned(rows, names=1)
    if len(result.attempts) > 1:
        for tried in result.attempts:
            rise = tried.loss.log_loss
            yield (
                f"tried: {tried.layers} layers in float: {tried.noise.value:.2%} noise in the logits; on "
                f"{tried.loss.pictures} training images the log-loss rises by {rise.value:.4f} "
                f"({rise.low:.4f} to {rise.high:.4f})"
            )
    yield result.reason
