"""What the forms of an exported file cost and keep: fp32, fp16-weights, int8, measured side by side in one run.

    python benchmarks/export.py [RUN] [--rounds N] [--no-b0]

RUN is a finished run of tl-train; without it one is trained on `cats-dogs` with the recipe `default`
(efficientnet_lite0). Prints for each form the size, the time to open it, milliseconds per decoded picture on one thread
(median over rounds in which the forms take turns), the accuracy on the run's held-out pictures, and the share with the
same label as fp32. int8 is made and measured here even where tl-export would refuse it; the last lines say what it did.
Then export and proof of an efficientnet_b0 with random weights are timed.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from tl_export.pipeline import ExportResult, export
from tl_export.proof.precision import Precision
from tl_export.run_pictures import held_out_pictures
from tl_export.smaller.form import Form
from tl_export.smaller.gates import accuracy, predicted_labels
from tl_infer.images import load_image
from tl_infer.model.contract import PROBABILITIES
from tl_infer.model.modelfile import ModelFile
from tl_infer.model.session import Session
from tl_train.config import TrainConfig
from tl_train.recipes import load_recipe
from tl_train.run import train

_PICTURES = 8


def opening_ms(data: bytes) -> float:
    """Milliseconds to open a file that is in memory."""
    started = time.perf_counter()
    Session(ModelFile(data, "model"), threads=1)
    return 1000 * (time.perf_counter() - started)


def timed(files: dict[str, bytes], run: Path, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Medians of opening and of answering a picture, ms; the forms take turns."""
    arrays = [load_image(item.picture)[np.newaxis] for item in held_out_pictures(run)[:_PICTURES]]
    opening: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(5):
        for name, data in files.items():
            opening[name].append(opening_ms(data))
    sessions = {name: Session(ModelFile(data, name), threads=1) for name, data in files.items()}
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
        # Any drop is let through, so that there is a file to measure; the gate's own line is printed below.
        form = Form(precision, max_drop=1.0)
        results[precision.value] = export(run, folder / f"{precision.value}.onnx", form=form)
    files = {name: result.path.read_bytes() for name, result in results.items()}
    pictures = held_out_pictures(run)
    opening, answering = timed(files, run, rounds)
    labels = {name: predicted_labels(data, pictures) for name, data in files.items()}
    print(f"{len(pictures)} held-out pictures, {rounds} rounds, one thread")
    print(f"{'':14}{'MB':>7}{'open ms':>9}{'ms':>8}{'accuracy':>10}{'agreement':>11}")
    for name, data in files.items():
        same = np.mean([one == other for one, other in zip(labels["fp32"], labels[name], strict=True)])
        print(
            f"{name:14}{len(data) / 1e6:>7.1f}{opening[name]:>9.1f}{answering[name]:>8.2f}"
            f"{accuracy(labels[name], pictures):>10.2%}{same:>11.2%}"
        )
    refused = export(run, folder / "gated.onnx", form=Form(Precision.INT8)).int8
    assert refused is not None
    print("\n".join(refused.lines()))


def export_b0(folder: Path) -> None:
    """Time export and proof of a large network on small data."""
    config = TrainConfig.of("digits", arch="efficientnet_b0", weights="none", mode="head", epochs=1, size=224)
    train(config, folder / "b0")
    started = time.perf_counter()
    result = export(folder / "b0", folder / "b0.onnx", verify_count=80)
    seconds = time.perf_counter() - started
    print(f"export and proof of efficientnet_b0 on {result.proof.pictures} pictures: {seconds:.1f} s")


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
            train(TrainConfig.from_fields({**load_recipe("default"), "data": "cats-dogs"}), run)
        compare(run, Path(name), options.rounds)
        if not options.no_b0:
            export_b0(Path(name))


if __name__ == "__main__":
    main()
