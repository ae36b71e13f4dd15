"""What the forms of an exported file cost and keep: fp32, fp16-weights, int8, measured side by side in one run.

    python benchmarks/export.py [RUN] [--rounds N] [--no-b0]

RUN is a finished run of tl-train; without it one is trained on `cats-dogs` with the recipe `head`
(efficientnet_lite0). Prints for each form the size, the time to open it, milliseconds per decoded image on one thread
(median over rounds in which the forms take turns), the accuracy on the run's held-out images, and the share with the
same label as fp32. int8 is made and measured here even where tl-export would refuse it; the last lines say what it did.
Then export and proof of an efficientnet_b0 with random weights are timed.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from tl_export import ExportOptions, ExportResult, Precision, export
from tl_export.run_pictures import held_out_pictures
from tl_export.smaller.held_out import held_out_answers
from tl_export.summary import int8_lines
from tl_infer.images import load_image
from tl_infer.limits import DEFAULT_LIMITS
from tl_infer.model.contract import PROBABILITIES
from tl_infer.model.session import Session
from tl_train import TrainConfig, train
from tl_train.recipes import load_recipe
from tl_train.run_folder.folder import RunFolder
from tl_train.tables import aligned

_PICTURES = 8


def opening_ms(data: bytes) -> float:
    """Milliseconds to open a file that is in memory."""
    started = time.perf_counter()
    Session.from_bytes(data, "model")
    return 1000 * (time.perf_counter() - started)


def timed(files: dict[str, bytes], run: Path, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Medians of opening and of classifying an image, ms; the forms take turns."""
    arrays = [load_image(item.picture)[np.newaxis] for item in held_out_pictures(RunFolder(run))[:_PICTURES]]
    opening: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(5):
        for name, data in files.items():
            opening[name].append(opening_ms(data))
    sessions = {name: Session.from_bytes(data, name) for name, data in files.items()}
    answering: dict[str, list[float]] = {name: [] for name in files}
    for number in range(-3, rounds):
        for name, session in sessions.items():
            started = time.perf_counter()
            session.run(arrays[number % len(arrays)], [PROBABILITIES])
            if number >= 0:
                answering[name].append(1000 * (time.perf_counter() - started))
    medians = [{name: statistics.median(values) for name, values in found.items()} for found in (opening, answering)]
    return medians[0], medians[1]


def compare(run: Path, folder: Path, rounds: int) -> None:
    """Export every form and print a line for each."""
    results: dict[str, ExportResult] = {}
    for precision in Precision:
        # No gate, so that there is a file to measure; the default gate's own line is printed below.
        options = ExportOptions(precision=precision, gate="none")
        results[precision.value] = export(run, folder / f"{precision.value}.onnx", options)
    files = {name: result.path.read_bytes() for name, result in results.items()}
    pictures = held_out_pictures(RunFolder(run))
    opening, answering = timed(files, run, rounds)
    answers = {name: held_out_answers(data, pictures, DEFAULT_LIMITS) for name, data in files.items()}
    print(f"{len(pictures)} held-out images, {rounds} rounds, one thread")
    rows = [("", "MB", "open ms", "ms", "accuracy", "log-loss", "agreement")]
    for name, data in files.items():
        found = answers[name]
        size, opened, answered = f"{len(data) / 1e6:.1f}", f"{opening[name]:.1f}", f"{answering[name]:.2f}"
        same = found.agreement(answers["fp32"])
        rows.append((name, size, opened, answered, f"{found.judged.score:.2%}", f"{found.log_loss:.4f}", f"{same:.2%}"))
    print(*aligned(rows, names=1), sep="\n")
    refused = export(run, folder / "gated.onnx", ExportOptions(precision=Precision.INT8)).int8
    assert refused is not None
    print("\n".join(int8_lines(refused)))


def export_b0(folder: Path) -> None:
    """Time export and proof of a large network on small data."""
    config = TrainConfig.of("digits", arch="efficientnet_b0", weights="none", mode="head", epochs=1, size=224)
    train(config, folder / "b0")
    started = time.perf_counter()
    result = export(folder / "b0", folder / "b0.onnx", ExportOptions(verify_count=80))
    seconds = time.perf_counter() - started
    print(f"export and proof of efficientnet_b0 on {result.proof.pictures} images: {seconds:.1f} s")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--no-b0", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run = options.run
        if run is None:
            run = Path(name) / "run"
            train(TrainConfig.from_fields({**load_recipe("head"), "data": "cats-dogs"}), run)
        compare(run, Path(name), options.rounds)
        if not options.no_b0:
            export_b0(Path(name))


if __name__ == "__main__":
    main()
