"""Speed of tl-infer, side by side in one run: from picture files to a CSV file, against its limits and other ways.

    python benchmarks/infer.py RUN PHOTOS [--rounds 5] [--long 0]

RUN is a run of tl-train, which is exported first; PHOTOS a folder of photos, used several times over where there are
few. Each way has a process of its own, all processors, and its turn in every round; medians are quoted. Loading is not
timed in the first part. Further parts: the whole process for one photo, its time and peak memory against a bare script
that opens the same session; `--fast-decode` on photos enlarged to 12 megapixels; with --long N the time per picture and
the growth of memory over N pictures.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image

import process
from tl_export import ExportOptions, export
from tl_export.proof.independent import independent_tensor
from tl_infer.classifier import Classifier
from tl_infer.cli.job import Job
from tl_infer.cli.options import Options
from tl_infer.images import load_image
from tl_infer.limits import Limits
from tl_infer.model.contract import PreprocessSpec
from tl_infer.results import Classification
from tl_infer.system.finding import find_files
from tl_infer.system.parallel import available_threads
from tl_train.models.trace import trace
from tl_train.run_folder.folder import RunFolder
from turns import Run, Worker, in_turn

BATCH = 32
TWELVE_MEGAPIXELS = (4000, 3000)

# What anybody would write who knows onnxruntime; it imports no more than it needs.
BARE_SCRIPT = """
import sys
import numpy as np, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
picture = np.asarray(Image.open(sys.argv[2]).convert("RGB"))
print(session.run(["probabilities"], {"image": picture[None]})[0].argmax())
"""


def ours(model: Path, files: Sequence[Path], out: Path) -> Run:
    """What tl-infer does, from the files to a CSV file."""
    classifier = Classifier(model, for_many=True)
    options = Options(model=model, paths=tuple(map(str, files)), out=out, overwrite=True)

    def run() -> float:
        return float(Job(classifier, options).run(lambda _: None, lambda _: None).done)

    return run


def decoding(files: Sequence[Path]) -> Run:
    """Decoding alone, on all processors."""

    def run() -> float:
        with ThreadPoolExecutor(available_threads()) as pool:
            return sum(1.0 for _ in pool.map(load_image, files))

    return run


def network(model: Path, files: Sequence[Path]) -> Run:
    """The file's graph alone, preprocessing included, on pictures that are in memory, on all processors."""
    pictures = {path: load_image(path)[np.newaxis] for path in set(files)}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def answer(path: Path) -> bool:
        return bool(session.run(["probabilities"], {"image": pictures[path]})[0].size)

    def run() -> float:
        with ThreadPoolExecutor(available_threads()) as pool:
            return sum(pool.map(answer, files))

    return run


def naive(bare: Path, files: Sequence[Path], spec: PreprocessSpec) -> Run:
    """A plain loop: the default session, Pillow and numpy before it, a picture at a time."""
    session = onnxruntime.InferenceSession(bare, providers=["CPUExecutionProvider"])
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)

    def run() -> float:
        for path in files:
            picture = Image.open(path).convert("RGB").resize(spec.size[::-1], Image.Resampling.BILINEAR)
            values = (np.asarray(picture, dtype=np.float32) / 255 - mean) / std
            session.run(None, {"tensor": values.transpose(2, 0, 1)[np.newaxis]})
        return len(files)

    return run


class _Photos(torch.utils.data.Dataset[torch.Tensor]):
    def __init__(self, files: Sequence[Path], spec: PreprocessSpec) -> None:
        self.files, self.spec = files, spec

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        return independent_tensor(self.files[index], self.spec)


def pytorch(folder: Path, files: Sequence[Path], workers: int) -> Run:
    """PyTorch eager with torchvision's transforms, in batches; with `workers` processes that load, or none."""
    model, spec, _ = RunFolder(folder).load_model()
    model.eval()
    photos = _Photos(files, spec.preprocess)
    loader = torch.utils.data.DataLoader(photos, batch_size=BATCH, num_workers=workers)

    @torch.inference_mode()
    def run() -> float:
        return sum(len(model(batch).softmax(1)) for batch in loader)

    return run


def openvino(bare: Path, files: Sequence[Path], spec: PreprocessSpec) -> Run:
    """OpenVINO in float32 and throughput mode, fed by as many threads as there are processors."""
    import openvino as ov

    core = ov.Core()
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(bare), "CPU", settings)
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)

    def prepared(path: Path) -> np.ndarray:
        picture = Image.open(path).convert("RGB").resize(spec.size[::-1], Image.Resampling.BILINEAR)
        return ((np.asarray(picture, dtype=np.float32) / 255 - mean) / std).transpose(2, 0, 1)[np.newaxis]

    def run() -> float:
        queue = ov.AsyncInferQueue(compiled)
        with ThreadPoolExecutor(available_threads()) as pool:
            for values in pool.map(prepared, files):
                queue.start_async({0: values})
        queue.wait_all()
        return len(files)

    return run


def compare(folder: Path, model: Path, files: Sequence[Path], rounds: int, scratch: Path) -> None:
    """The first part: pictures per second of every way."""
    trained, spec, _ = RunFolder(folder).load_model()
    bare = scratch / "network.onnx"
    bare.write_bytes(trace(trained, spec.preprocess.size).SerializeToString())
    ways = {
        "ours, files to CSV": Worker(ours, model, files, scratch / "ours.csv"),
        "decoding alone": Worker(decoding, files),
        "graph alone": Worker(network, model, files),
        "naive onnxruntime loop": Worker(naive, bare, files, spec.preprocess),
        "PyTorch eager": Worker(pytorch, folder, files, 0),
        "PyTorch, DataLoader": Worker(pytorch, folder, files, available_threads()),
    }
    try:
        import openvino as ov

        ways[f"OpenVINO {ov.__version__.split('-')[0]}, float32"] = Worker(openvino, bare, files, spec.preprocess)
    except ImportError:
        print("OpenVINO is not installed: left out")
    for worker in ways.values():
        worker.timed()
    seconds = dict(zip(ways, in_turn(dict.fromkeys(ways.values(), 1), rounds), strict=True))
    limit_s = seconds["decoding alone"] + seconds["graph alone"]
    mine_s = seconds["ours, files to CSV"]
    print(f"\n{'way':<28} {'pictures/s':>10}   ours is")
    for name, spent in [*seconds.items(), ("limit: decoding + graph", limit_s)]:
        print(f"{name:<28} {len(files) / spent:>10.1f}   {spent / mine_s:.2f}x")


def start_of_a_process(model: Path, photo: Path, rounds: int) -> None:
    """The second part: one photo, the whole process, against the bare script."""
    program = [str(Path(sys.executable).with_name("tl-infer")), str(model), str(photo)]
    commands = {"tl-infer": program, "bare script": [sys.executable, "-c", BARE_SCRIPT, str(model), str(photo)]}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    peaks: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(4 * rounds + 1):
        for name, command in commands.items():
            done = process.run(command)
            if number:  # the first one warms the disk's cache
                seconds[name].append(done.seconds)
                peaks[name].append(done.memory_mb)
    (mine_s, bare_s), (mine_mb, bare_mb) = (
        [statistics.median(values[name]) for name in commands] for values in (seconds, peaks)
    )
    print(f"\none photo, whole process: tl-infer {mine_s:.3f} s, bare script {bare_s:.3f} s: {mine_s / bare_s:.2f}x")
    print(f"peak memory: tl-infer {mine_mb:.0f} MB, bare script {bare_mb:.0f} MB: {mine_mb / bare_mb:.2f}x")


def fast_decode(model: Path, files: Sequence[Path], rounds: int, scratch: Path) -> None:
    """The third part: reduced-scale decoding of large JPEGs, its gain and what it does to the answers."""
    large = []
    for number, path in enumerate(files[:20]):
        large.append(scratch / f"large{number}.jpg")
        with Image.open(path) as picture:
            picture.convert("RGB").resize(TWELVE_MEGAPIXELS, Image.Resampling.BICUBIC).save(large[-1], quality=90)
    exact, fast = Classifier(model, for_many=True), Classifier(model, for_many=True, limits=Limits(fast_decode=True))
    spent: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for is_fast, classifier in ((False, exact), (True, fast)):
            started = time.perf_counter()
            answers = [a for a in classifier.classify_many(large, top_k=None) if isinstance(a, Classification)]
            spent[is_fast].append(time.perf_counter() - started)
            if is_fast:
                reduced = answers
            else:
                whole = answers
    slow_s, quick_s = (statistics.median(spent[is_fast]) for is_fast in (False, True))
    same = sum(a.top[0].label == b.top[0].label for a, b in zip(whole, reduced, strict=True))
    apart = max(_change(a, b) for a, b in zip(whole, reduced, strict=True))
    print(
        f"\n--fast-decode, {len(large)} photos of 12 megapixels: {len(large) / slow_s:.1f} -> "
        f"{len(large) / quick_s:.1f} pictures/s ({slow_s / quick_s:.2f}x), same label {same} of {len(large)}, "
        f"largest change of the top probability {apart:.4f}"
    )


def _change(whole: Classification, reduced: Classification) -> float:
    """By how much the probability of the first answer's class differs in the second."""
    (other,) = (score.probability for score in reduced.top if score.label == whole.top[0].label)
    return abs(whole.top[0].probability - other)


def long_run(model: Path, files: Sequence[Path], pictures: int) -> None:
    """The last part: whether time per picture and memory stay what they are over many pictures."""
    classifier = Classifier(model, for_many=True)
    stream = (files[number % len(files)] for number in range(pictures))
    marks = sorted({100, 1000, 10_000, pictures} & set(range(pictures + 1)))
    started, before = time.perf_counter(), 0
    print(f"\n{'pictures':>9} {'ms each':>8} {'peak MB':>8}")
    for number, _ in enumerate(classifier.classify_many(stream), start=1):
        if number in marks:
            now, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{number:>9} {1000 * (now - started) / (number - before):>8.2f} {peak:>8.0f}", flush=True)
            started, before = now, number


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("photos", type=Path, metavar="PHOTOS")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=400, help="per round")
    parser.add_argument("--long", type=int, default=0, metavar="N", help="pictures of the last part")
    options = parser.parse_args()
    found = find_files([options.photos])
    files = [found[number % len(found)] for number in range(options.pictures)]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        model = export(options.run, scratch / "model.onnx", ExportOptions(images=found[:20])).path
        print(f"{options.pictures} pictures ({len(found)} photos), {available_threads()} processors, {options.run}")
        compare(options.run, model, files, options.rounds, scratch)
        start_of_a_process(model, files[0], options.rounds)
        fast_decode(model, files, options.rounds, scratch)
        if options.long:
            long_run(model, files, options.long)


if __name__ == "__main__":
    main()
