import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tl_train.config import TrainConfig
from tl_train.config.choices import MODE_DEFAULTS

TL_TRAIN = [sys.executable, "-c", "from tl_train.cli import main; main()"]
TINY = ["--arch", "timm:test_efficientnet", "--weights", "none", "--size", "32"]
TINY += ["--mode", "full", "--head-fit", "sgd", "--epochs", "1"]


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [*TL_TRAIN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def test_a_run_from_the_shell(shapes, tmp_path):
    done = run(shapes, "--out", tmp_path / "run", *TINY)
    assert done.returncode == 0, done.stderr
    assert "3 classes, 21 to train, 3 to validate, 6 to test" in done.stderr
    assert "train loss" in done.stderr
    assert "Test accuracy: " in done.stdout
    assert f"Next: tl-export {tmp_path / 'run'}" in done.stdout


def test_what_comes_next_can_be_pasted_into_a_shell(shapes, tmp_path):
    done = run(shapes, "--out", tmp_path / "the first", *TINY)
    assert done.returncode == 0, done.stderr
    following = done.stdout.splitlines()[-1].removeprefix("Next: ")
    assert shlex.split(following) == ["tl-export", str(tmp_path / "the first")]


def test_a_run_with_several_labels_and_tensorboard_from_the_shell(several_shapes, tmp_path):
    out = tmp_path / "run"
    done = run(several_shapes, "--out", out, *TINY[:6], "--multi-label", "--tensorboard")
    assert done.returncode == 0, done.stderr
    shown = r"Test images: mAP [01]\.\d{3}, micro F1 [01]\.\d{3}, macro F1 [01]\.\d{3}; all labels right on \d+ of 24"
    first, report, following = done.stdout.splitlines()
    assert re.fullmatch(shown, first)
    assert (report, following) == (f"Report: {out / 'report.html'}", f"Next: tl-export {out}")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{shapes}"], 2, "Missing option '--out'"),
        (["{shapes}", "--out", "run", "--resume", "--overwrite"], 2, "--resume and --overwrite exclude one another"),
        (["{shapes}", "--dry-run", "--resume"], 2, "--dry-run trains nothing; leave --resume out"),
        (["{shapes}", "--dry-run", "--unknown", "typo"], 1, "unknown: found typo, expected a folder of images"),
        (["{shapes}", "--dry-run", "--arch", "efficientnet_lite9"], 1, "the nearest are efficientnet_lite"),
        (["{shapes}", "--dry-run", "--weights", "w.pth"], 1, "w.pth: no such file"),
        (["{shapes}", "--dry-run", "--freeze-until", "block9"], 1, "found 'block9', expected a stage of efficientnet"),
        (["{shapes}", "--out", "run", "--freeze-until", "block9"], 1, "found 'block9', expected a stage of efficient"),
        (["{shapes}", "--out", "run", "--recipe", "head", "--recipe", "head"], 2, "--recipe head is given more than"),
        (["{shapes}", "--out", "{shapes}/run"], 1, "where it would be read as a class; choose another --out"),
        (["{shapes}", "--dry-run", "--out", "{shapes}/run"], 1, "where it would be read as a class; choose another"),
        (["{shapes}", "--out", "run", "--mode", "half"], 2, "'half' is not one of 'auto', 'head'"),
        (["{shapes}", "--out", "run", "--fit", "pad", "--fill", "red"], 1, "fill: found red, expected black, white or"),
        (["{shapes}", "--out", "run", "--anchor", "top-left"], 1, "only letterbox and pad have a canvas"),
        (["{shapes}", "--out", "run", "--fit", "crop", "--resize-px", "90"], 1, "found 90, expected 224 to 4096"),
        (["{shapes}", "--out", "run", "--mode", "full", "--epochs", "0"], 1, "Error: epochs: found 0, expected 1 or"),
        (["{shapes}", "--out", "run", "--size", "64x"], 1, "size: found '64x', expected pixels, as 224, or HEIGHTx"),
        (["{shapes}", "--out", "run", "--csv-columns", "path=a"], 1, "csv_columns, images_root: only for .csv files"),
        (["{shapes}", "--out", "run", "--arch", "efficientnet_lite9"], 1, "the nearest are efficientnet_lite"),
        (["{shapes}", "--out", "run", "--weights", "w.pth"], 1, "w.pth: no such file"),
        (["nowhere", "--out", "run"], 1, "Error: nowhere: no such folder; expected"),
        (["{shapes}", "--out", "/proc/run"], 1, "/proc/run: cannot be used as the run's folder"),
    ],
)  # fmt: skip
def test_mistakes_get_one_clear_line(shapes, tmp_path, arguments, code, message):
    done = run(*(text.format(shapes=shapes) for text in arguments), cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_with_130_and_whole_files_only(shapes, tmp_path):
    out = tmp_path / "run"
    arguments = [str(shapes), "--out", str(out), *TINY[:-1], "100000"]
    process = subprocess.Popen([*TL_TRAIN, *arguments], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "train loss" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    stderr = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 130
    assert stderr.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in stderr
    assert {path.name for path in out.iterdir()} <= {"config.toml", "preflight.json", "resume"}
    assert not list(out.rglob("*.tmp"))
    assert run(shapes, "--out", out, *TINY, "--overwrite").returncode == 0, "it does not block the next run"


def test_help_is_instant_and_says_what_follows():
    code = (
        "import sys; from tl_train.cli import command; "
        "command.main(['--help'], standalone_mode=False); "
        "sys.exit(bool({'torch', 'numpy', 'rich', 'onnx'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    for word in ("cats-dogs", "digits", "--val-split", "tl-export", "Exit codes"):
        assert word in done.stdout


def test_help_names_the_defaults_of_each_mode():
    shown = " ".join(run("--help").stdout.split())
    for mode, defaults in MODE_DEFAULTS.items():
        for name in defaults:
            plain, own = (TrainConfig.of("digits", mode=each).fields()[name] for each in ("head", mode))
            plain, own = (f"{each:g}" if isinstance(each, float) else each for each in (plain, own))
            of_option = shown.split(f" --{name.replace('_', '-')} ")[1].split("[default: ")[1].split("]")[0]
            assert of_option.startswith(f"{plain}; mode"), name
            assert any(mode in part and part.endswith(f": {own}") for part in of_option.split("; ")), (mode, name)
    assert "[default: auto]" in shown.split("--recipe NAME")[1].split("--seeds")[0]


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "tl_train", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tl-train, version ")


def test_without_the_extra_one_line_says_what_to_install(tmp_path):
    # What a base installation lacks is hidden from the import system; nothing of ours is replaced.
    code = (
        "import importlib.util as u; real = u.find_spec; "
        "u.find_spec = lambda name, package=None: None if name == 'torch' else real(name, package); "
        "from tl_train.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "digits", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == 'Error: torch is not installed; run: pip install "tl-toolkit[train]"\n'


def test_a_dry_run_looks_at_each_recipe_and_writes_nothing_for_a_comparison(shapes, tmp_path):
    done = run(shapes, "--dry-run", "--recipe", "head", "--recipe", "tutorial", "--out", "c", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = done.stderr.index("Recipe head"), done.stderr.index("Recipe tutorial")
    assert first < done.stderr.index("0 broken") < second < done.stderr.rindex("0 broken")
    assert not list(tmp_path.iterdir())


def test_a_dry_run_stops_after_looking_at_the_pictures(shapes, tmp_path):
    done = run(shapes, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "Warning: only 6 test images" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert run(shapes, "--dry-run", "--overwrite", cwd=tmp_path).returncode == 2


def test_a_head_is_fitted_at_once_and_idle_options_are_named(shapes, tmp_path):
    tiny = ["--arch", "timm:test_efficientnet", "--weights", "none", "--size", "32"]
    done = run(shapes, "--out", tmp_path / "run", *tiny, "--recipe", "head", "--epochs", "7")
    assert done.returncode == 0, done.stderr
    assert "No effect with mode head and head_fit penalised: --epochs" in done.stderr
    config = TrainConfig.load(tmp_path / "run" / "config.toml")
    assert (config.model.mode, config.head.fit, config.head.prior) == ("head", "penalised", "auto")
