"""What the resize in the file costs: milliseconds of one thread, and memory on top of the image."""

import multiprocessing
import time
from pathlib import Path

import click
import numpy as np

from tl_infer import PreprocessSpec
from tl_train.preprocess.graph import Preprocessor

_SHAPES = ((375, 500), (1200, 1600), (3000, 4000), (65_000, 100))
_STATUS = Path("/proc/self/status")


@click.command()
@click.option("--fit", type=click.Choice(["squash", "letterbox", "pad", "crop"]), default="squash")
@click.option("--repeats", default=9, show_default=True)
def main(fit: str, repeats: int) -> None:
    """Print a table for both filters (Linux only: memory is what the kernel says)."""
    for resample in ("bilinear", "bicubic"):
        for shape in _SHAPES:
            with multiprocessing.get_context("spawn").Pool(1) as pool:  # memory is a matter of a process of its own
                milliseconds, megabytes = pool.apply(_costs, (fit, resample, shape, repeats))
            click.echo(f"{resample:9} {shape[0]:6} x {shape[1]:5} {milliseconds:7.1f} ms {megabytes:6.0f} MB")


def _costs(fit: str, resample: str, shape: tuple[int, int], repeats: int) -> tuple[float, float]:
    spec = PreprocessSpec(
        size=(224, 224), mean=(0.5,) * 3, std=(0.5,) * 3, fit=fit, resample=resample,
        resize_px=256 if fit == "crop" else None,
    )  # fmt: skip
    preprocess = Preprocessor(spec)
    preprocess(np.zeros((8, 8, 3), np.uint8))
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    Path("/proc/self/clear_refs").write_text("5")
    before = _megabytes("VmRSS")
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        preprocess(pixels)
        seconds.append(time.process_time() - start)
    return float(np.median(seconds)) * 1000, _megabytes("VmHWM") - before


def _megabytes(field: str) -> float:
    (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
