"""int8 of one run by other tools, side by side in one process: onnxruntime's defaults and OpenVINO's NNCF.

    python benchmarks/int8_elsewhere.py prepare RUN FOLDER
    /other/venv/bin/python benchmarks/int8_elsewhere.py compare FOLDER

`prepare` needs tl-export; it writes the run's network in float32, in int8 as tl-export makes it, and in int8 by
`quantize_static` with its defaults, and the network's inputs: the same 200 training images for all to calibrate on, and
the held-out ones. `compare` needs onnxruntime, openvino and nncf, in an environment of their own; it quantizes with
NNCF's defaults, then measures all: ms per image (network alone, one thread, in turns, median), MB, accuracy and
log-loss on the held-out images (each with the temperature that suits it best, which favours none).
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_ROUNDS = 60
_CALIBRATION = 200

Answer = Callable[[np.ndarray], np.ndarray]


def prepare(run: Path, folder: Path) -> None:
    """Write networks and inputs."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    from tl_export import ExportOptions, Precision, export
    from tl_export.graph.network_head import cut_at
    from tl_export.graph.network_part import network_part
    from tl_export.run_pictures import RunImages
    from tl_export.smaller.inputs import NetworkInputs
    from tl_train.progress import Progress
    from tl_train.run_folder.folder import RunFolder

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
        def __init__(self, tensors: np.ndarray) -> None:
            self._tensors = iter(tensors)

        def get_next(self) -> dict[str, np.ndarray] | None:
            tensor = next(self._tensors, None)
            return None if tensor is None else {"tensor": tensor[None]}

    folder.mkdir(parents=True, exist_ok=True)
    spec = RunFolder(run).spec()
    for name, precision in (("fp32", Precision.FP32), ("ours", Precision.INT8)):
        options = ExportOptions(precision=precision, gate="none", verify_count=8, outputs=("probabilities", "logits"))
        result = export(run, folder / "whole.onnx", options, overwrite=True)
        network = network_part(onnx.load(result.path))
        onnx.save(cut_at(network, "logits", len(spec.labels)), folder / f"{name}.onnx")
    images = RunImages.load(RunFolder(run), spec, Progress())
    calibration = NetworkInputs.of(images.training(_CALIBRATION), spec.preprocess, Progress())
    held_out = NetworkInputs.of(images.dataset.held_out()[1], spec.preprocess, Progress())
    tensors = np.stack([calibration[place] for place in range(len(calibration))])
    np.savez(
        folder / "inputs.npz", calibration=tensors, truth=held_out.truth,
        held_out=np.stack([held_out[place] for place in range(len(held_out))]),
    )  # fmt: skip
    quantize_static(folder / "fp32.onnx", folder / "defaults.onnx", Reader(tensors))


def compare(folder: Path) -> None:
    """Measure all, in one process."""
    inputs = np.load(folder / "inputs.npz")
    ways, sizes = _onnxruntime(folder)
    more, their_sizes = _openvino(folder, inputs["calibration"])
    ways, sizes = {**ways, **more}, {**sizes, **their_sizes}
    ms = _timed(ways, inputs["held_out"][:8])
    print(f"{len(inputs['truth'])} held-out images\n{'':<28}{'ms':>7}{'MB':>7}{'accuracy':>10}{'log-loss':>10}")
    for name, answer in ways.items():
        logits = np.concatenate([answer(tensor[None]) for tensor in inputs["held_out"]]).astype(np.float64)
        accuracy = (logits.argmax(axis=1) == inputs["truth"]).mean()
        loss = min(_log_loss(logits / t, inputs["truth"]) for t in np.exp(np.linspace(-1.5, 1.5, 61)))
        print(f"{name:<28}{ms[name]:7.2f}{sizes[name]:7.1f}{accuracy:10.2%}{loss:10.4f}", flush=True)


def _onnxruntime(folder: Path) -> tuple[dict[str, Answer], dict[str, float]]:
    import onnxruntime as ort

    ways: dict[str, Answer] = {}
    sizes = {}
    names = {"float32": "fp32", "int8, tl-export": "ours", "int8, quantize_static": "defaults"}
    for name, file in names.items():
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        session = ort.InferenceSession(folder / f"{file}.onnx", options, providers=["CPUExecutionProvider"])
        ways[name] = _answers_of(session)
        sizes[name] = (folder / f"{file}.onnx").stat().st_size / 1e6
    return ways, sizes


def _openvino(folder: Path, calibration: np.ndarray) -> tuple[dict[str, Answer], dict[str, float]]:
    import nncf
    import openvino as ov

    model = ov.Core().read_model(folder / "fp32.onnx")
    model.reshape([1, *calibration.shape[1:]])
    data = nncf.Dataset([tensor[None] for tensor in calibration])
    small = nncf.quantize(model, data, subset_size=len(calibration))
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    ways: dict[str, Answer] = {}
    sizes = {}
    for name, one in (("OpenVINO float32", model), ("OpenVINO int8, NNCF", small)):
        compiled = ov.Core().compile_model(one, "CPU", settings)
        ways[name] = _copied_answers_of(compiled)
        path = folder / "openvino.xml"
        ov.save_model(one, path, compress_to_fp16=False)
        sizes[name] = sum(file.stat().st_size for file in (path, path.with_suffix(".bin"))) / 1e6
    return ways, sizes


def _answers_of(session: Any) -> Answer:
    def answer(tensor: np.ndarray) -> np.ndarray:
        logits: np.ndarray = session.run(["logits"], {"tensor": tensor})[0]
        return logits

    return answer


def _copied_answers_of(compiled: Any) -> Answer:
    def answer(tensor: np.ndarray) -> np.ndarray:
        logits: np.ndarray = compiled(tensor)[0].copy()
        return logits

    return answer


def _timed(ways: Mapping[str, Answer], tensors: np.ndarray) -> dict[str, float]:
    """Median milliseconds of each way, taking turns."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-5, _ROUNDS):
        for name, answer in ways.items():
            started = time.perf_counter()
            answer(tensors[number % len(tensors)][None])
            if number >= 0:
                found[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in found.items()}


def _log_loss(logits: np.ndarray, truth: np.ndarray) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(truth)), truth]).mean())


def main() -> None:
    """Run one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    first = steps.add_parser("prepare")
    first.add_argument("run", type=Path)
    for step in (first, steps.add_parser("compare")):
        step.add_argument("folder", type=Path)
    given = parser.parse_args()
    if given.step == "prepare":
        prepare(given.run, given.folder)
    else:
        compare(given.folder)


if __name__ == "__main__":
    main()
