"""Opening a model with onnxruntime: which providers there are, and what it means when one fails."""

from collections.abc import Sequence

import onnxruntime as ort

from tl_infer.errors import ModelFileError, ProviderError, first_line
from tl_infer.model.at_exit import finished_at_exit
from tl_infer.model.modelfile import ModelFile
from tl_infer.model.saturation import compute_exactly

CPU = "cpu"
_PROVIDERS = {
    CPU: "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
}
_PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
    "directml": "onnxruntime-directml",
    "coreml": "onnxruntime for macOS",
}


def check_providers(names: Sequence[str] | None) -> tuple[str, ...]:
    """Check providers, by short names (`cuda`) or onnxruntime's (`CUDAExecutionProvider`), in order of preference.

    Returns:
        Short names, if there are any, each once; `("cpu",)` for None.

    Raises:
        ProviderError: the installed onnxruntime does not have one of them, or there is no name at all.

    """
    if names is None:
        return (CPU,)
    if isinstance(names, str) or not names or not all(isinstance(name, str) for name in names):
        raise ProviderError(f"providers: found {names!r}, expected a list of names as ['cuda']")
    short = {long: name for name, long in _PROVIDERS.items()}
    installed = [short.get(long, long) for long in ort.get_available_providers()]
    checked = []
    for name in names:
        checked.append(short.get(name, name if name in installed else name.lower()))
        if checked[-1] not in installed:
            package = _PACKAGES.get(checked[-1])
            remedy = f"; install {package} instead of onnxruntime" if package else ""
            raise ProviderError(
                f"provider '{name}': the installed onnxruntime {ort.__version__} has {', '.join(installed)}{remedy}"
            )
    return tuple(dict.fromkeys(checked))


def open_session(model: ModelFile, threads: int, providers: Sequence[str], optimized: bool) -> ort.InferenceSession:
    """Open a model; the arguments are those of `Session`.

    Raises:
        ModelFileError: damaged or no ONNX model.
        ProviderError: a provider does not start, or not with this model.

    """
    options = ort.SessionOptions()
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads sleep instead of taking a core from the program that embeds us.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # onnxruntime would also accept its own format, which was not searched for external data.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    compute_exactly(options, model.contents.operators)
    options.log_severity_level = 4  # what fails is raised; a library does not write to its host's stderr
    wanted = [_PROVIDERS.get(name, name) for name in providers]
    try:
        # Where CUDA fails, onnxruntime would print that to stdout and take the CPU.
        more = {"enable_fallback": 0} if "cuda" in providers else {}
        with finished_at_exit():
            session = ort.InferenceSession(model.data, options, providers=wanted, **more)
    except Exception as error:
        _refuse_if_damaged(model, options, error if wanted == [_PROVIDERS[CPU]] else None)
        raise ProviderError(
            f"provider '{' or '.join(providers)}': cannot open the model: {first_line(error)}"
        ) from error
    session.disable_fallback()  # a provider that fails on an image is an error, not silently another provider
    for name, long in zip(providers, wanted, strict=True):
        if long not in session.get_providers():
            raise ProviderError(f"provider '{name}': is installed but does not start; a driver or library is missing")
    return session


def _refuse_if_damaged(model: ModelFile, options: ort.SessionOptions, error: Exception | None) -> None:
    """Say that the file is damaged if onnxruntime's own provider cannot open it either; `error` if it was that one."""
    try:
        if error is None:
            ort.InferenceSession(model.data, options, providers=[_PROVIDERS[CPU]])
    except Exception as found:  # noqa: BLE001 - raised below
        error = found
    if error is not None:
        raise ModelFileError(
            f"{model.where}: damaged or not an ONNX model, expected a file made by tl-export: {first_line(error)}"
        ) from error
