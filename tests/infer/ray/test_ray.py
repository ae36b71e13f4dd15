"""Ray Data on two processors of this machine: the rows of tl-infer, whatever happens to the processes."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from support import onnx_bytes
from tl_infer import Classifier, ImageError, Limits, ModelFileError

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")
from pyarrow import parquet  # noqa: E402

import tl_infer  # noqa: E402
from tl_infer.ray import Wanted  # noqa: E402
from tl_infer.ray.stores import fetched, list_images  # noqa: E402
from tl_infer.system.files import hold_folder  # noqa: E402

# Ray's own code, of which the tests would else fail: it leaves sockets and files to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("ray") / "colors.onnx"
    path.write_bytes(onnx_bytes.color_model(onnx_bytes.abstaining_spec(0.9), extras=True))
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images of many colours, a few that abstain, and some that are none."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(120):
        color = (number * 37 % 256, number * 91 % 256, number * 53 % 256)
        Image.new("RGB", (8 + number % 5, 6), color).save(folder / f"{number:03}.png")
    (folder / "bad.png").write_text("no picture")
    (folder / "empty.png").write_text("")
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


def expected(model, paths, top_k=1):
    rows = {}
    with Classifier(model, threads=1, for_many=True) as classifier:
        for path, result in zip(paths, classifier.classify_many(paths, top_k, embedding=True), strict=True):
            if isinstance(result, ImageError):
                rows[str(path)] = (None, None, (), False, result.reason, None)
            else:
                top = tuple((score.label, score.probability) for score in result.top)
                rows[str(path)] = (
                    result.label, result.probability, top, result.abstained, None, result.embedding.tolist()
                )  # fmt: skip
    return rows


def found(rows):
    values = {}
    for row in rows:
        top = tuple((score["label"], score["probability"]) for score in row["top"])
        assert row["path"] not in values, "one row for each file"
        values[row["path"]] = (
            row["label"], row["probability"], top, row["abstained"], row["error"], row["embedding"]
        )  # fmt: skip
    return values


def test_the_rows_are_those_of_a_classifier(cluster, model, images):
    paths = sorted(images.iterdir())
    dataset = tl_infer.ray.classify(images, model, Wanted(top_k=2, embedding=True))
    assert found(dataset.take_all()) == expected(model, paths, 2)


def test_paths_uris_and_datasets_of_bytes(cluster, model, images):
    paths = sorted(images.glob("00*.png"))
    wanted = Wanted(embedding=True)
    assert found(tl_infer.ray.classify(paths, model.read_bytes(), wanted).take_all()) == expected(model, paths)
    uris = {f"file://{path}": values for path, values in expected(model, paths).items()}
    absent = f"file://{images}/absent.png"
    listed = ray.data.from_items([{"path": path} for path in [*uris, absent]])
    rows = found(tl_infer.ray.classify(listed, model, wanted).take_all())
    assert rows.pop(absent)[4].startswith("cannot be read: ")
    assert rows == uris
    data = ray.data.read_binary_files([str(path) for path in paths], include_paths=True)
    rows = found(tl_infer.ray.classify(data, model, wanted, skip=[str(paths[0])]).take_all())
    assert rows == expected(model, paths[1:])


def test_a_folder_in_a_store_is_all_files_below_it(cluster, model, images, tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "a.png").write_bytes((images / "000.png").read_bytes())
    (tmp_path / "below" / "b.png").write_bytes((images / "001.png").read_bytes())
    rows = tl_infer.ray.classify(f"file://{tmp_path}", model).take_all()
    assert {row["path"] for row in rows} == {f"file://{tmp_path}/a.png", f"file://{tmp_path}/below/b.png"}
    with pytest.raises(tl_infer.InputPathError, match="absent"):
        tl_infer.ray.classify(f"file://{tmp_path}/absent", model)


def test_each_file_of_a_store_is_read_and_not_that_of_a_similar_name(tmp_path):
    names = ["a b.png", "a%20b.png", "c", "c#d.png", "c?d.png", "\xfc.png", "+&=;,@~.png"]
    for name in names:
        (tmp_path / name).write_text(name)
    uris = list_images(f"file://{tmp_path}/")
    assert sorted(data.decode() for data in fetched(uris, Limits())) == sorted(names)
    assert list_images(uris) == uris
    assert all(uri.endswith("?x=1") for uri in list_images(f"file://{tmp_path}?x=1"))


def test_a_name_that_is_not_utf8_is_told(cluster, model, tmp_path):
    shutil.copy(model, tmp_path / "bad\udcff.png")
    with pytest.raises(tl_infer.InputPathError, match="a name that is not UTF-8"):
        tl_infer.ray.classify(tmp_path, model)


def test_limits_hold_in_the_actors_and_bad_requests_fail_here(cluster, model, images):
    rows = tl_infer.ray.classify([images / "000.png"], model, Wanted(limits=Limits(max_pixels=4))).take_all()
    assert "the limit is 4 in all" in rows[0]["error"]
    with pytest.raises(ValueError, match="top_k: found 9, expected 1 to 3"):
        tl_infer.ray.classify(images, model, Wanted(top_k=9))
    with pytest.raises(ModelFileError, match="does not tell how familiar an image is"):
        tl_infer.ray.classify(images, model, Wanted(min_familiarity=0.5))


def test_an_actor_that_is_killed_loses_nothing(cluster, model, images):
    paths = sorted(images.iterdir())
    rows, killed = [], []
    for batch in tl_infer.ray.classify(paths, model, Wanted(embedding=True)).iter_batches(
        batch_size=None, batch_format="pyarrow", prefetch_batches=0
    ):
        rows += batch.to_pylist()
        if not killed:
            killed = actors()
            assert killed
            os.kill(killed[0], signal.SIGKILL)
    assert found(rows) == expected(model, paths)


def actors():
    """The processes that classify, by the titles that Ray gives them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            title = (process / "cmdline").read_bytes()
            if title.startswith(b"ray::") and b"_Actor" in title and process.stat().st_uid == os.getuid():
                found.append(int(process.name))
    return found


def program(*arguments, code=0):
    environment = os.environ | {"RAY_DEDUP_LOGS": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "tl_infer", *map(str, arguments)], env=environment, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


def test_the_program_writes_parquet_and_continues_it(model, images, tmp_path):
    out, paths = tmp_path / "rows", sorted(images.iterdir())
    done = program(model, images / "000.png", images / "bad.png", "--engine", "ray", "--out", out, code=3)
    assert done.stdout == ""
    assert "2 files, 1 error, " in done.stderr
    assert json.loads((out / "_run.json").read_text())["top-k"] == 1
    first = sorted(out.glob("part-*.parquet"))
    assert [path.name for path in first] == ["part-000000.parquet"]
    assert "has rows already" in program(model, images, "--engine", "ray", "--out", out, code=1).stderr
    assert "with other options" in program(
        model, images, "--engine", "ray", "--out", out, "--resume", "--top-k", 2, code=1
    ).stderr  # fmt: skip
    before = first[0].read_bytes()
    done = program(model, images, "--engine", "ray", "--out", out, "--resume", code=3)
    assert "122 files, 2 from before, 1 error, " in done.stderr
    assert first[0].read_bytes() == before
    rows = parquet.read_table(out).to_pylist()
    want = {path: (*values[:5], None) for path, values in expected(model, paths).items()}
    assert found(rows) == want
    again = program(model, images, "--engine", "ray", "--out", out, "--resume")
    assert "122 files, 122 from before, 0 errors, " in again.stderr


def test_two_runs_do_not_write_to_one_folder(model, images, tmp_path):
    (tmp_path / "rows").mkdir()
    with hold_folder(tmp_path / "rows"):
        for how in ((), ("--resume",), ("--overwrite",)):
            done = program(model, images, "--engine", "ray", "--out", tmp_path / "rows", *how, code=1)
            assert "another tl-infer is writing to this folder; wait for it, or choose another --out" in done.stderr
    assert not any((tmp_path / "rows").iterdir())


def test_the_code_of_the_page_runs(model, images, tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "scaling.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    shutil.copy(model, tmp_path / "photos.onnx")
    shutil.copytree(images, tmp_path / "photos")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    assert "[{'path': 'photos/" in done.stdout
    assert parquet.read_table(tmp_path / "rows").num_rows == 122


def test_every_label_of_a_model_that_gives_several(tmp_path):
    (tmp_path / "several.onnx").write_bytes(onnx_bytes.color_model(onnx_bytes.several_spec(), several=True))
    (tmp_path / "images").mkdir()
    for color in ("yellow", "black"):
        Image.new("RGB", (8, 8), color).save(tmp_path / "images" / f"{color}.png")
    done = program(tmp_path / "several.onnx", tmp_path / "images", "--engine", "ray", "--out", tmp_path / "rows")
    rows = parquet.read_table(tmp_path / "rows").to_pylist()
    assert {Path(row["path"]).stem: row["labels"] for row in rows} == {"yellow": ["red", "green"], "black": []}
    counted = [line.split()[:2] for line in done.stderr.splitlines() if line.endswith("%")]
    assert counted == [["red", "1"], ["green", "1"], ["(none)", "1"]]


def test_ray_reports_to_nobody():
    code = "import tl_infer, os; tl_infer.ray; print(os.environ['RAY_USAGE_STATS_ENABLED'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "0\n"
