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


def modules_of(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def loaded_by(statement: str) -> set[str]:
    return {name.split(".")[0] for name in modules_of(statement)}


def test_the_runtime_loads_none_of_the_training_libraries():
    assert not loaded_by("import tl_infer") & set(HEAVY)
    everything = "from tl_infer import *\nimport tl_infer.cli.job, tl_infer.cli.table"
    assert not loaded_by(everything) & set(HEAVY)


def test_the_contract_needs_the_standard_library_only():
    assert not loaded_by("import tl_infer.model.contract") & {"numpy", "onnxruntime", "PIL"}


def test_what_opens_a_model_does_not_wait_for_what_decodes_images():
    assert not loaded_by("import tl_infer.cli.command") & {"numpy", "onnxruntime", "PIL"}
    assert not loaded_by("import tl_infer.cli.program") & {"PIL"}


def test_rare_formats_are_not_loaded_for_the_usual_ones():
    rare = {f"tl_infer.formats.{name}" for name in ("tiff", "gif", "bmp", "further.heif", "further.jpeg2000")}
    assert not modules_of("import tl_infer.images") & rare
