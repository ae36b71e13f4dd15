"""Formats that are read only if asked for, from training to the answer."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from support.loading import BY_STEPS
from support.pictures import draw_shape
from tl_export import ExportOptions, export
from tl_export.errors import VerificationError
from tl_infer import Classifier, ImageError, ImageTooLargeError, Limits, load_image
from tl_train import TrainConfig, train
from tl_train.errors import ConfigError, DataError
from tl_train.run_folder.folder import RunFolder

KINDS = ("ppm", "avif", "png", "tga", "jp2")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Two classes of ten images in five formats."""
    root = tmp_path_factory.mktemp("mixed")
    for shape in ("circle", "cross"):
        (root / shape).mkdir()
        for number in range(10):
            draw_shape(shape, number).save(root / shape / f"{number}.{KINDS[number % len(KINDS)]}")
    return root


def config(mixed, **options):
    small = {"arch": "timm:test_efficientnet", "weights": "none", "size": 64, "epochs": 1, **BY_STEPS}
    return TrainConfig.of(str(mixed), **small, **options)


def test_a_run_reads_them_and_its_export_and_classifier_do(mixed, tmp_path):
    train(config(mixed, formats="jpeg2000,tga,avif,pnm"), tmp_path / "run")
    limits = RunFolder(tmp_path / "run").config().data.limits
    assert limits.formats == ("avif", "jpeg2000", "pnm", "tga")
    result = export(tmp_path / "run", tmp_path / "m.onnx", ExportOptions(images=[mixed / "circle"]))
    assert result.proof.pictures == 10
    files = sorted((mixed / "cross").iterdir())
    answers = list(Classifier(result.path, limits=limits).classify_many(files))
    assert not any(isinstance(answer, ImageError) for answer in answers)
    refused = [
        answer.reason for answer in Classifier(result.path).classify_many(files) if isinstance(answer, ImageError)
    ]
    assert len(refused) == 8
    assert all("images are read only if asked for: --formats " in reason for reason in refused)


def test_without_the_option_training_stops_and_names_it(mixed, tmp_path):
    """Also where a run with the option has left what it computed of these images in the cache."""
    with pytest.raises(DataError, match=r"\d\.\w+: .+ images are read only if asked for: --formats \w+.* --skip-bad"):
        train(config(mixed), tmp_path / "run")


def test_an_export_takes_more_of_them_than_its_run(tiny_run, mixed, tmp_path):
    picked = [mixed / "circle" / "0.ppm", mixed / "circle" / "1.avif"]
    with pytest.raises(VerificationError, match=r"0\.ppm: PNM images are read only if asked for: --formats pnm"):
        export(tiny_run, tmp_path / "m.onnx", ExportOptions(images=picked))
    proven = export(tiny_run, tmp_path / "m.onnx", ExportOptions(images=picked, formats=("pnm", "avif")))
    assert proven.proof.pictures == 2
    with pytest.raises(ValueError, match="formats: found 'ppm', expected of avif"):
        ExportOptions(formats=("ppm",))


@pytest.mark.parametrize("text", ["ppm", "avif,jpg"])
def test_unknown_names_are_configuration_errors(text):
    with pytest.raises(ConfigError, match=r"formats: found '(ppm|jpg)', expected of avif, heic, jpeg2000, pnm, tga"):
        TrainConfig.of("somewhere", formats=text)


def tl_infer(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tl_infer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ)


def test_the_program_reads_them_if_asked_and_resumes_only_so(tiny_model, mixed, tmp_path):
    files = sorted((mixed / "circle").iterdir())[:5]
    some = tmp_path / "some"
    some.mkdir()
    for file in files:
        shutil.copy(file, some)
    done = tl_infer(tiny_model, some, "--out", tmp_path / "r.csv", "--formats", "avif,pnm,tga,jpeg2000")
    assert (done.returncode, done.stdout) == (0, "")
    made_by = json.loads((tmp_path / "r.csv.run.json").read_text())
    assert "jpeg2000" in json.dumps(made_by)
    done = tl_infer(tiny_model, some, "--out", tmp_path / "r.csv", "--resume")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    done = tl_infer(tiny_model, some)
    assert done.returncode == 3
    assert done.stdout.count("images are read only if asked for: --formats ") == 4
    done = tl_infer(tiny_model, *files)
    assert (done.returncode, done.stdout.count("read only if asked for")) == (0, 0), "a path names its format"
    done = tl_infer(tiny_model, some, "--formats", "ppm")
    assert done.returncode == 2
    assert "found 'ppm', expected of avif, heic, jpeg2000, pnm, tga" in done.stderr


def test_the_limits_hold_in_all_of_them(mixed):
    small = Limits(formats=("avif", "jpeg2000", "pnm", "tga"), max_pixels=100)
    for file in sorted((mixed / "circle").iterdir()):
        with pytest.raises(ImageTooLargeError, match="the limit is 100 in all"):
            load_image(file, small)
