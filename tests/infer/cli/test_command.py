import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from attacks import png_files
from support import onnx_bytes
from support.program import TL_INFER, run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_bytes.color_model())
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, color in enumerate(["red", "#00ff00", "blue"]):
        Image.new("RGB", (8, 8), color).save(folder / f"{number}.png")
    return folder


def test_a_folder_gives_a_line_per_picture_and_a_summary(model, photos):
    done = run(model, photos)
    assert done.returncode == 0
    assert [line.split("\t")[1] for line in done.stdout.splitlines()] == ["red", "green", "blue"]
    assert "99.93%" in done.stdout
    assert "3 of 3 files, 0 errors" in done.stderr


def test_a_bad_file_gets_its_row_and_exit_code_3(model, photos, tmp_path):
    (photos / "1b.png").write_text("no picture")
    out = tmp_path / "results.csv"
    done = run(model, photos, "--out", out, "--top-k", 2)
    assert done.returncode == 3
    assert "4 files, 1 error," in done.stderr
    assert done.stdout == ""
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["red", "green", "", "blue"]
    assert rows[2]["error"].startswith("not an image")
    assert Path(rows[2]["path"]).name == "1b.png"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{model}", "{photos}", "--out", "r.xlsx"], 2, "must end in .csv or .jsonl"),
        (["{model}", "{photos}", "--top-k", "4"], 2, "found 4, the model has 3 classes"),
        (["{model}", "{photos}", "--top-k", "0"], 2, "not in the range"),
        (["{model}", "{photos}", "--ou", "x.csv"], 2, "--out"),
        (["{model}", ""], 2, "an empty path was given"),
        (["{model}", "{photos}", "--threads", "100000"], 2, "not in the range"),
        (["{model}", "n" * 300], 1, "cannot be read: File name too long"),
        (["n" * 300, "{photos}"], 1, "cannot be read: File name too long"),
        (["{model}"], 2, "Missing argument 'PATH...'"),
        (["{model}", "typo.png"], 1, "Error: typo.png: no such file or folder"),
        (["{photos}/0.png", "{photos}"], 1, "0.png: damaged or not an ONNX model"),
        (["absent.onnx", "{photos}"], 1, "Error: absent.onnx: no such file"),
        (["{model}", "{photos}", "--out", "no/r.csv"], 1, "no/r.csv: cannot be written: No such file"),
    ],
)
def test_mistakes_get_one_clear_line(model, photos, tmp_path, arguments, code, message):
    done = run(*(text.format(model=model, photos=photos) for text in arguments), cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        assert len(done.stderr.splitlines()) == 1


def test_an_existing_result_is_kept_unless_told(model, photos, tmp_path):
    out = tmp_path / "r.csv"
    out.write_text("last week's results")
    done = run(model, photos, "--out", out)
    assert done.returncode == 1
    assert "already exists; choose another name, continue it with --resume" in done.stderr
    assert out.read_text() == "last week's results"
    assert run(model, photos, "--out", out, "--overwrite").returncode == 0
    assert out.read_text().startswith('"path"')


def test_the_result_file_is_not_taken_for_a_picture(model, photos):
    for _ in range(2):
        done = run(model, photos, "--out", photos / "r.csv", "--overwrite")
        assert done.returncode == 0
        assert "3 of 3 files" in done.stderr


def test_a_link_to_itself_is_one_error_row(model, photos):
    (photos / "loop.png").symlink_to(photos / "loop.png")
    done = run(model, photos)
    assert done.returncode == 3
    assert "4 of 4 files, 1 error" in done.stderr


def test_control_characters_in_a_name_do_not_reach_the_terminal(model, photos):
    (photos / "\x1b[2Jevil\n.png").write_text("x")
    done = run(model, photos)
    assert "\x1b" not in done.stdout + done.stderr
    assert r"\x1b[2Jevil\n.png" in done.stdout
    assert len(done.stdout.splitlines()) == 4


def test_a_name_that_is_not_unicode_is_classified(model, tmp_path):
    odd = tmp_path / os.fsdecode(b"odd\xff.png")
    Image.new("RGB", (8, 8), "red").save(odd, "PNG")
    done = run(model, odd, "--out", tmp_path / "r.jsonl")
    assert done.returncode == 0
    assert r"odd\udcff.png" in (tmp_path / "r.jsonl").read_text()


def test_ctrl_c_keeps_the_rows_written_so_far(model, photos, tmp_path):
    """It comes while the run waits for the next path, so it does not matter how fast the machine is."""
    out, partial = tmp_path / "r.csv", tmp_path / "r.csv.partial"
    command = [*TL_INFER, str(model), "-", "--out", str(out)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdin.write("".join(f"{photos / name}.png\n" for name in "012"))
    process.stdin.flush()
    deadline = time.monotonic() + 50
    while not (partial.exists() and partial.read_bytes().count(b"\n") == 4):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=50) == 130
    stderr = process.stderr.read()
    process.stdin.close()
    process.stderr.close()
    assert "Interrupted: the results end at the last file classified; --resume continues." in stderr
    assert "Traceback" not in stderr
    with out.open(newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["red", "green", "blue"]
    assert not list(tmp_path.glob("*.partial*"))


def test_a_reader_that_stops_early_is_no_disaster(model, photos):
    many = [str(photos / "0.png")] * 5_000
    process = subprocess.Popen(
        [*TL_INFER, str(model), *many], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
    assert "Traceback" not in stderr


def test_help_says_what_it_does_and_loads_nothing_heavy():
    code = (
        "import sys; from tl_infer.cli.command import command; "
        "command.main(['--help'], standalone_mode=False); "
        "sys.exit(bool({'onnxruntime', 'numpy', 'PIL'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    for word in ("MODEL", "PATH...", "--out", "--top-k", "--resume", "Exit codes", "143", "Examples"):
        assert word in done.stdout


def test_python_m_is_the_same_program(model, photos):
    command = [sys.executable, "-m", "tl_infer", str(model), str(photos / "0.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == run(model, photos / "0.png").stdout


@pytest.mark.parametrize("arguments", [["photos"], ["photos", "--engine", "ray", "--out", "rows"]])
def test_a_limit_that_nothing_would_keep_is_refused(model, arguments):
    done = run(model, *arguments, "--max-seconds", "30")
    assert done.returncode == 2
    assert "--max-seconds needs --isolate." in done.stderr


def test_isolated_processes_give_the_same_rows(model, photos):
    (photos / "1b.png").write_bytes(png_files.bomb())
    done = run(model, photos, "--isolate", "--max-seconds", "30")
    assert done.returncode == 3
    assert [line.split("\t")[1] for line in done.stdout.splitlines()][:2] == ["red", "green"]
    assert done.stdout == run(model, photos).stdout
    assert run(model, photos, "--max-seconds", "0").returncode == 2
