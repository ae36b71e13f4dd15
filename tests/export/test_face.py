"""The public face: what `tl_export` offers, what it costs to import, and what it refuses."""

import shutil
import subprocess
import sys

import pytest

import tl_export
from tl_export import ExportOptions, Precision, check, export


def test_every_public_name_is_there_and_no_other():
    for name in tl_export.__all__:
        assert getattr(tl_export, name).__name__ == name
    assert set(tl_export.__all__) <= set(dir(tl_export))
    with pytest.raises(AttributeError, match="module 'tl_export' has no attribute 'exports'"):
        _ = tl_export.exports


def test_help_loads_none_of_the_libraries_that_do_the_work():
    code = (
        "import sys, tl_export; from tl_export.cli import command; command(['--help'], standalone_mode=False); "
        "sys.exit(bool({'torch', 'numpy', 'rich', 'onnx', 'tl_train.run', 'tl_train.config'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "[default: 0.5]" in done.stdout
    assert "[default: probabilities, logits, embedding, heatmap, familiarity]" in " ".join(done.stdout.split())


def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "tl_export", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("tl-export, version ")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("outputs", ["logits", "heat"], "outputs: found 'heat', expected some of probabilities, logits, embedding, "),
        ("precision", "fp16", "precision: found 'fp16', expected fp32 or fp16-weights or int8"),
        ("max_drop", 1.1, "max_drop: found 1.1, expected 0 to 1"),
        ("max_drop", float("nan"), "max_drop: found nan, expected 0 to 1"),
        ("golden", "none", "golden: found 'none', expected pictures or synthetic"),
        ("verify_count", 0, "verify_count: found 0, expected 1 or more"),
    ],
)
def test_options_out_of_range(field, value, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ExportOptions(**{field: value})


def test_a_precision_can_be_given_by_its_name():
    assert ExportOptions(precision="int8").precision is Precision.INT8


def test_paths_are_taken_as_text_and_the_file_goes_into_the_run(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    result = export(str(run))
    assert result.path == run / "model.onnx"
    assert check(str(result.path), str(run)).outputs == result.outputs


def test_one_path_is_no_list_of_images(tiny_model, tiny_run):
    with pytest.raises(TypeError, match=r"images: found 'photos', expected a list of paths"):
        check(tiny_model, tiny_run, images="photos")
