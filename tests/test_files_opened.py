"""One module opens the files that users name: it refuses what is no regular file, or too large."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
READING = {"open", "read_text", "read_bytes", "fdopen", "load_file", "safe_open", "memmap", "fromfile"}

# module -> what it may call by itself, and why.
ALLOWED = {
    "tl_infer/system/files.py": {"open", "fdopen"},  # this is the module
    "tl_infer/system/temporaries.py": {"open", "fdopen"},  # our own temporary files
    "tl_infer/system/parallel.py": {"read_text"},  # /proc and /sys
    "tl_infer/cli/streams.py": {"open"},  # the null device
    "tl_infer/decoding_process.py": {"fdopen", "read_text"},  # descriptors it was started with, /proc
    "tl_infer/cli/output/placing.py": {"open"},  # a new file
    "tl_export/page/page.py": {"read_text"},  # parts of the page, of the package
    "tl_train/models/weight_files.py": {"load_file"},  # behind open_regular
}


def calls(path: Path) -> set[str]:
    """What a module calls to open files; `read_text` and `read_bytes` by their bare names are ours."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        said = ast.unparse(node.func)
        is_method = isinstance(node.func, ast.Attribute)
        name = said.rpartition(".")[2]
        of_the_package, of_an_open_file = "resources.files" in said, said == "Image.open"
        if name in READING and (is_method or name == "open") and not of_the_package and not of_an_open_file:
            found.add(name)
    return found


def test_no_other_module_opens_files():
    found = {}
    for package in ("infer/tl_infer", "train/tl_train", "export/tl_export"):
        for path in (ROOT / package).rglob("*.py"):
            module = path.relative_to(ROOT / package).as_posix()
            module = f"{Path(package).name}/{module}"
            if others := calls(path) - ALLOWED.get(module, set()):
                found[module] = others
    assert found == {}
