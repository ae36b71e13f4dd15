"""What a user of `tl-infer` relies on, beyond one plain run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import onnx_bytes
from support.program import rows_of, run
from tl_infer.cli.output.sorting import FAILED, UNSURE

NAMES = ["0.png", "1.png", "2.png"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_bytes.color_model(extras=True, golden=onnx_bytes.golden_set()))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Red, green, and one of which the model is less sure."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, color in zip(NAMES, ["red", "#00ff00", "#605050"], strict=True):
        Image.new("RGB", (8, 8), color).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("name", "line", "number"),
    [
        pytest.param("r.csv", b"just text\n", 3, id="text"),
        pytest.param("r.csv", b"\xff" * 8 + b"\n", 3, id="not UTF-8"),
        pytest.param("r.csv", b"x" * 2_000_000 + b"\n", 3, id="long"),
        pytest.param("r.jsonl", b"{}\n", 2, id="empty"),
        pytest.param("r.jsonl", b"[" * 100_000 + b"\n", 2, id="deep"),
        pytest.param("r.jsonl", b"no JSON\n", 2, id="no JSON"),
    ],
)
def test_results_are_not_continued_behind_a_damaged_row(model, photos, tmp_path, name, line, number):
    out = tmp_path / name
    assert run(model, photos / NAMES[0], "--out", out).returncode == 0
    with out.open("ab") as file:
        file.write(line)
    before = out.read_bytes()
    done = run(model, photos, "--out", out, "--resume")
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: {out}: line {number} is not a row with the columns of this run; start over with --overwrite\n"
    )
    assert out.read_bytes() == before


def test_below_the_threshold_the_label_is_empty_and_the_rest_is_there(model, photos, tmp_path):
    out = tmp_path / "r.csv"
    assert run(model, photos, "--out", out, "--threshold", "0.9", "--top-k", "all").returncode == 0
    row = rows_of(out)[2]
    assert (row["label"], row["abstained"]) == ("", "true")
    assert float(row["p(red)"]) == float(row["probability"]) < 0.9
    done = run(model, photos, "--threshold", "0.9", "--top-k", 2)
    assert done.stdout.splitlines()[2].split("\t")[1:4:2] == ["(unsure)", "red"]
    assert "(unsure)  1" in done.stderr


def test_a_pattern_is_expanded_unless_there_is_such_a_file(model, photos):
    done = run(model, photos / "*.png")
    assert [Path(line.split("\t")[0]).name for line in done.stdout.splitlines()] == NAMES
    (photos / "0.png").rename(photos / "[12].png")
    done = run(model, photos / "[12].png")
    assert [line.split("\t")[1] for line in done.stdout.splitlines()] == ["red"]


@pytest.mark.parametrize(("separator", "option"), [("\n", []), ("\0", ["-0"])])
def test_paths_come_from_standard_input(model, photos, separator, option):
    paths = [str(photos / name) for name in [*reversed(NAMES), "absent.png"]]
    done = run(model, "-", *option, input=separator.join(paths))
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == paths
    assert done.returncode == 3
    assert "4 files, 1 error" in done.stderr


def test_standard_input_that_holds_no_paths_is_refused(model):
    done = run(model, "-", input="x" * 200_000)
    assert done.returncode == 1
    assert re.search(r"no end of a path in \d+ bytes; if they are separated by NUL, add -0", done.stderr)


@pytest.mark.parametrize("mode", ["--copy", "--move", "--link"])
def test_files_are_sorted_into_folders(model, photos, tmp_path, mode):
    (photos / "bad.png").write_text("no picture")
    folder, out = photos / "sorted", tmp_path / "r.csv"
    (folder / "red").mkdir(parents=True)
    (folder / "red" / "0.png").write_text("older")
    before = (photos / "0.png").read_bytes()
    done = run(model, photos, "--out", out, "--sort-into", folder, mode, "--threshold", "0.9")
    assert done.returncode == 3
    assert (folder / "red" / "0.png").read_text() == "older"
    assert (folder / "red" / "0-2.png").read_bytes() == before
    assert (folder / "red" / "0-2.png").is_symlink() == (mode == "--link")
    assert (folder / UNSURE / "2.png").exists()
    assert (folder / FAILED / "bad.png").exists() == (mode != "--move")
    left = sorted(path.name for path in photos.glob("*.png"))
    assert left == (["bad.png"] if mode == "--move" else [*NAMES, "bad.png"])
    assert rows_of(out)[0]["sorted_to"] == str(folder / "red" / "0-2.png")
    assert not list(folder.rglob(".*"))


def test_heatmaps_and_embeddings_follow_the_rows(model, photos, tmp_path):
    (photos / "1b.png").write_text("no picture")
    out, maps, vectors = tmp_path / "r.jsonl", tmp_path / "maps", tmp_path / "e.npy"
    assert run(model, photos, "--out", out, "--heatmaps", maps, "--embeddings", vectors).returncode == 3
    array = np.load(vectors)
    assert array.shape == (4, 3)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array[[0, 1]], [[255, 0, 0], [0, 255, 0]])
    assert np.isnan(array[2]).all()
    heatmaps = [json.loads(line)["heatmap"] for line in out.read_text().splitlines()]
    assert heatmaps[2] is None
    with Image.open(heatmaps[0]) as overlay:
        assert overlay.size == (8, 8)


@pytest.mark.parametrize("option", ["--heatmaps", "--embeddings"])
def test_an_output_that_the_model_lacks_is_one_line(photos, tmp_path, option):
    model = tmp_path / "plain.onnx"
    model.write_bytes(onnx_bytes.color_model())
    done = run(model, photos, option, tmp_path / "x.npy")
    assert done.returncode == 1
    assert f"has no output '{option[2:].rstrip('s')}'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_resume_adds_what_is_new_and_cuts_off_half_a_row(model, photos, tmp_path, suffix):
    out = tmp_path / f"r{suffix}"
    run(model, photos, "--out", out)
    whole = out.read_bytes()
    out.write_bytes(whole + b'"half a')
    Image.new("RGB", (8, 8), "blue").save(photos / "3.png")
    done = run(model, photos, "--out", out, "--resume")
    assert done.returncode == 0, done.stderr
    assert "4 of 4 files, 3 from before" in done.stderr
    assert out.read_bytes().startswith(whole)
    assert len(out.read_bytes()[len(whole) :].splitlines()) == 1


def test_a_file_that_failed_is_tried_again_once_its_row_is_deleted(model, photos, tmp_path):
    out = tmp_path / "r.csv"
    whole = (photos / "1.png").read_bytes()
    (photos / "1.png").write_bytes(whole[:40])  # still being written
    assert "from before" not in run(model, photos, "--out", out).stderr
    (photos / "1.png").write_bytes(whole)
    done = run(model, photos, "--out", out, "--resume")
    assert done.returncode == 3
    assert "\n1 error is from before, not tried again; to try again, delete the rows.\n" in done.stderr
    out.write_text("".join(line for line in out.read_text().splitlines(keepends=True) if "1.png" not in line))
    done = run(model, photos, "--out", out, "--resume")
    assert done.returncode == 0, done.stderr
    assert "not tried again" not in done.stderr
    assert sum("1.png" in line for line in out.read_text().splitlines()) == 1


def test_resume_refuses_rows_of_other_options_or_unknown_ones(model, photos, tmp_path):
    out = tmp_path / "r.csv"
    run(model, photos, "--out", out, "--threshold", "0.5")
    before = out.read_bytes()
    done = run(model, photos, "--out", out, "--threshold", "0.6", "--resume")
    assert done.returncode == 1
    assert "its rows were made with threshold 0.5, now it is 0.6" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    (tmp_path / "r.csv.run.json").unlink()
    assert "nothing says how the rows of r.csv were made" in run(model, photos, "--out", out, "--resume").stderr
    assert out.read_bytes() == before
    assert not (tmp_path / "r.csv.partial").exists()


def test_the_model_describes_and_tests_itself(model, tmp_path):
    done = run(model, "--info", "--self-test")
    assert done.returncode == 0
    assert "3: red, green, blue" in done.stdout
    assert "self-test passed: 2 samples" in done.stdout
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(onnx_bytes.color_model(golden=onnx_bytes.golden_set(error=0.01)))
    done = run(wrong, "--self-test")
    assert done.returncode == 1
    assert "self-test failed" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--move"], 2, "--move needs --sort-into"),
        (["--sort-into", "x", "--move", "--link"], 2, "exclude one another"),
        (["--resume"], 2, "--resume needs --out"),
        (["-0"], 2, "-0 needs the PATH '-'"),
        (["--info"], 2, "take no PATH"),
        (["--threshold", "1.5"], 2, "not in the range"),
        (["--threshold", "nan"], 2, "nan is not in the range"),
        (["--isolate", "--max-seconds", "NaN"], 2, "NaN is not in the range"),
        (["--top-k", "many"], 2, "neither a number from 1 nor 'all'"),
        (["--sha256", "abc"], 2, "expected 64 hexadecimal digits"),
        (["--sha256", "0" * 64], 1, "this is not the file you pinned"),
        (["--provider", "cuda9"], 1, "provider 'cuda9'"),
        (["--embeddings", "e.npz"], 2, "must end in .npy"),
        (["--out", "r.csv", "--embeddings", "e.npy", "--resume"], 2, "does not work with --resume"),
        (["typo*.png"], 1, "nothing matches this pattern"),
        (["--max-pixels", "10"], 3, "the limit is 10 in all"),
        (["--max-file-size", "10"], 3, "the limit is 10"),
    ],
)
def test_mistakes_get_a_clear_line(model, photos, tmp_path, arguments, code, message):
    done = run(model, photos, *arguments, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_dark_sixteen_bit_images_are_named_once_until_their_depth_is(model, tmp_path):
    for number in range(5):
        Image.fromarray(np.full((8, 8), 4000 - number, np.uint16)).save(tmp_path / f"{number}.png")
    out = tmp_path / "r.csv"
    done = run(model, tmp_path / "[0-4].png", "--out", out)
    assert done.returncode == 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    assert line.startswith("Warning: 5 16-bit image(s) have no value above 4095 of 65535")
    done = run(model, tmp_path / "[0-4].png", "--bit-depth", "12", "--out", out, "--resume")
    assert done.returncode == 1
    assert "bit_depth" in done.stderr
    done = run(model, tmp_path / "[0-4].png", "--bit-depth", "12", "--heatmaps", tmp_path / "maps")
    assert done.returncode == 0
    assert "Warning" not in done.stderr
    with Image.open(next((tmp_path / "maps").iterdir())) as overlay:
        assert np.asarray(overlay).max() > 200
    assert run(model, tmp_path / "0.png", "--bit-depth", "11").returncode == 3
    assert run(model, tmp_path / "0.png", "--bit-depth", "7").returncode == 2


def test_a_pattern_does_not_match_what_the_run_itself_writes(model, photos):
    out = photos / "r.csv"
    for more in ((), ("--resume",)):
        done = run(model, photos / "*", "--out", out, "--heatmaps", photos / "maps", *more)
        assert done.returncode == 0, done.stderr
        assert [Path(row["path"]).name for row in rows_of(out)] == NAMES
    assert run(model, photos / "r.*", "--out", out, "--overwrite").returncode == 1, "nothing else matches it"


def test_an_image_too_wide_for_a_heatmap_keeps_its_answer_and_the_others_theirs(model, photos, tmp_path):
    Image.new("RGB", (65_535, 1), "red").save(photos / "0.png")
    done = run(model, photos, "--out", tmp_path / "r.csv", "--heatmaps", tmp_path / "maps")
    assert done.returncode == 3, done.stderr
    wide, *others = rows_of(tmp_path / "r.csv")
    assert (wide["label"], wide["heatmap"]) == ("red", "")
    assert wide["error"] == ("its heatmap cannot be written: 65535 x 1 pixels, and a JPEG has 65500 a side at most")
    assert all(row["heatmap"] for row in others)


def test_files_that_an_earlier_run_moved_are_counted_and_not_looked_for(model, photos, tmp_path):
    options = ("--out", tmp_path / "r.csv", "--sort-into", tmp_path / "sorted", "--move")
    assert run(model, photos, *options).returncode == 0
    Image.new("RGB", (8, 8), "blue").save(photos / "3.png")
    done = run(model, photos, *options, "--resume")
    assert done.stderr.startswith("4 files, 3 from before, 0 errors, ")
