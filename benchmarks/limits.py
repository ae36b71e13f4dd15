"""The price of the head: features against PyTorch, the fit against the features, tl-train against the machine's limit.

    python benchmarks/limits.py PHOTOS [--photos 400] [--rounds 3] [--programs]

PHOTOS is a folder that tl-train takes. The first part times, in processes that take turns, decoding with
preprocessing, the backbone in PyTorch (eager, channels_last, batches of 32, all threads), the backbone in onnxruntime
(an image a thread), and all of it from file to features: the limit. The second fits the head on the features of all
training photos. With --programs tl-train (mode head without the cache, then with it), tl-export and tl-infer run over
the whole folder; seconds and peak memory of each process.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

import process
from tl_infer.cli.console import EXIT_SOME_FAILED
from tl_infer.images import load_image
from tl_infer.system.parallel import available_threads, ordered_map
from tl_train import TrainConfig
from tl_train.head.features import BackboneFeatures
from tl_train.head.fit_head import fit_head
from tl_train.models.architectures import find_architecture
from tl_train.models.network import build_network
from tl_train.models.onnx_network import Backbone
from tl_train.preprocess.graph import Preprocessor, spec_for
from tl_train.progress import Progress
from tl_train.run.prepare import prepare
from tl_train.setup import Setup
from tl_train.training.memory import keep_freed_memory
from tl_train.training.waiting import wait_briefly
from turns import Run, Worker, in_turn

BATCH = 32
CONFIG = TrainConfig.of("photos", mode="head")


def _preprocessor() -> Preprocessor:
    architecture = find_architecture(CONFIG.model.arch)
    size = (architecture.size, architecture.size)
    return Preprocessor(spec_for(CONFIG.input, size, architecture.mean, architecture.std))


def _over(paths: Sequence[Path], work: Callable[[Path], object]) -> Run:
    return lambda: float(sum(1 for _ in ordered_map(work, paths, available_threads())))


def decoding(paths: Sequence[Path]) -> Run:
    """Files to normalised tensors, on all processors."""
    preprocess = _preprocessor()
    return _over(paths, lambda path: preprocess(load_image(path)))


def eager(paths: Sequence[Path]) -> Run:
    """The backbone on tensors in memory, as PyTorch runs it."""
    keep_freed_memory()
    backbone = Backbone(build_network(find_architecture(CONFIG.model.arch), "default", 2)).eval()
    backbone = backbone.to(memory_format=torch.channels_last)
    preprocess = _preprocessor()
    images = torch.from_numpy(np.stack([preprocess(load_image(path)) for path in paths]))
    images = images.contiguous(memory_format=torch.channels_last)

    def run() -> float:
        with torch.inference_mode():
            return sum(float(backbone(batch)[0, 0]) for batch in torch.split(images, BATCH))

    return run


def onnx(paths: Sequence[Path]) -> Run:
    """The backbone on tensors in memory, an image a thread."""
    network = build_network(find_architecture(CONFIG.model.arch), "default", 2)
    preprocess = _preprocessor()
    backbone = BackboneFeatures.of(network, preprocess, Progress())._backbone
    tensors = [preprocess(load_image(path)) for path in paths]
    return lambda: float(sum(1 for _ in ordered_map(backbone, tensors, available_threads())))


def limit(paths: Sequence[Path]) -> Run:
    """Files to features, on all processors, and nothing else."""
    network = build_network(find_architecture(CONFIG.model.arch), "default", 2)
    features = BackboneFeatures.of(network, _preprocessor(), Progress())
    return _over(paths, lambda path: features(load_image(path)))


def programs(photos: str, count: int, limit_s: float) -> None:
    """The three programs over the whole folder; the limit is for as many photos, per photo `limit_s`."""
    with tempfile.TemporaryDirectory() as folder:
        run, model = f"{folder}/run", f"{folder}/model.onnx"
        os.environ["TL_CACHE_DIR"] = f"{folder}/cache"
        warm = ["tl_train", "digits", "--out", f"{folder}/warm", "--mode", "head"]
        process.run([sys.executable, "-m", *warm])  # exports the backbone, once
        commands = {
            "tl-train --dry-run": ["tl_train", photos, "--dry-run"],
            "tl-train --mode head --no-cache": ["tl_train", photos, "--out", run, "--mode", "head", "--no-cache"],
            "tl-train --mode head, fills the cache": ["tl_train", photos, "--out", f"{run}1", "--mode", "head"],
            "tl-train --mode head, from the cache": ["tl_train", photos, "--out", f"{run}2", "--mode", "head"],
            "tl-export": ["tl_export", run, "--out", model],
            "tl-infer": ["tl_infer", model, photos, "--out", f"{folder}/out.csv"],
        }
        print(f"\n| {count} photos | s | of the limit, {count * limit_s:.1f} s | MB |\n| --- | --- | --- | --- |")
        for name, command in commands.items():
            # A photo that cannot be read is no failure of the program.
            done = process.run([sys.executable, "-m", *command], allowed=(0, EXIT_SOME_FAILED))
            of_limit = done.seconds / (count * limit_s)
            print(f"| `{name}` | {done.seconds:.1f} | {of_limit:.2f} | {done.memory_mb:.0f} |", flush=True)


def fit(setup: Setup) -> float:
    """Seconds that the head takes on the features of the training photos."""
    started = time.perf_counter()
    fit_head(setup, Progress())
    return time.perf_counter() - started


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--photos", type=int, default=400, help="how many are used in the first part")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--programs", action="store_true")
    options = parser.parse_args()
    wait_briefly()
    setup = prepare(CONFIG.changed(data=options.folder), Progress())
    dataset = setup.dataset
    samples = [*dataset.train, *dataset.val, *dataset.test]
    step = max(1, len(samples) // options.photos)
    paths = [sample.path for sample in samples[::step] if sample.path][: options.photos]
    workers = {Worker(make, paths): 1 for make in (decoding, eager, onnx, limit)}
    decode_s, eager_s, onnx_s, limit_s = (seconds / len(paths) for seconds in in_turn(workers, options.rounds))
    print(f"{len(paths)} of {len(samples)} photos, {available_threads()} processors")
    print(f"decoding and preprocessing      {1 / decode_s:8.1f} images/s")
    print(f"backbone, PyTorch               {1 / eager_s:8.1f} images/s")
    print(f"backbone, onnxruntime           {1 / onnx_s:8.1f} images/s   {eager_s / onnx_s:.2f}x")
    print(f"files to features, the limit    {1 / limit_s:8.1f} images/s")
    seconds, features_s = fit(setup), len(dataset.train) * limit_s
    print(
        f"head, {len(dataset.train)} photos, {len(dataset.labels)} classes {seconds:8.1f} s   "
        f"{seconds / features_s:.2f} of the time for their features"
    )
    if options.programs:
        programs(options.folder, len(samples), limit_s)


if __name__ == "__main__":
    main()
