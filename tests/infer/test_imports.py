import subprocess
import sys

HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "onnx",
    "scipy",
    "sklearn",
    "matplotlib",
    "rich",
    "click",
    "tl_train",
    "tl_export",
)


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_the_runtime_loads_none_of_the_training_libraries():
    assert not loaded_by("import tl_infer") & set(HEAVY)
    everything = "from tl_infer import *\nimport tl_infer.cli.job, tl_infer.cli.table"
    assert not loaded_by(everything) & set(HEAVY)


def test_the_contract_needs_the_standard_library_only():
    assert not loaded_by("import tl_infer.model.contract") & {"numpy", "onnxruntime", "PIL"}
