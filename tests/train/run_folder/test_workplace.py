"""tl_train.run_folder.workplace: a finished run is replaced by a complete one only."""

import shutil
from pathlib import Path

import pytest

from support.loading import BY_STEPS
from tl_infer.system.files import hold_folder
from tl_train import train
from tl_train.config import TrainConfig
from tl_train.errors import RunError
from tl_train.history import Epoch
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder
from tl_train.run_folder.workplace import FOLDER, Workplace


class Stop(Exception):  # noqa: N818 - not an error of the program
    pass


class StopAfterAnEpoch(Progress):
    def note(self, text: str) -> None:
        if text.split()[0] == "2" and "%" in text:
            raise Stop


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and FOLDER not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_old_run_stays_until_the_new_one_is_complete(tiny_run, shapes, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(tiny_run, out)
    (out / "notes.txt").write_text("mine")
    (out / "model.onnx").write_text("exported from the old run")
    before = content(out)
    config = TrainConfig.of(str(shapes), arch="timm:test_efficientnet", weights="none", size=32, epochs=3, **BY_STEPS)
    with pytest.raises(RunError, match="holds a run already; choose another folder, or replace it with --overwrite"):
        train(config, out)
    with pytest.raises(Stop):
        train(config, out, overwrite=True, progress=StopAfterAnEpoch())
    assert content(out) == before
    assert RunFolder(out).load_model()[1].labels == ("circle", "cross", "square")
    train(config, out, resume=True)
    assert RunFolder(out).config() == config
    assert len(RunFolder(out).history()) == 3
    after = content(out)
    assert after["notes.txt"] == b"mine"
    assert "model.onnx" not in after
    assert not (out / FOLDER).exists()
    assert not (out / "resume").exists()
    assert RunFolder(out).predictions()[0].path.is_file()


def old_and_new(out: Path) -> tuple[RunFolder, RunFolder]:
    """Two finished runs, the second in the place where it waits; every file says whose it is."""
    run, new = RunFolder(out), RunFolder(out / FOLDER)
    for folder, text in ((run, "old"), (new, "new")):
        for path in (*folder.files, folder.config_file):
            if text == "old" or path not in (new.prior_file, new.model_file):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        for path in folder.folders:
            path.mkdir()
            (path / f"{text}.txt").write_text(text)
    (out / "notes.txt").write_text("mine")
    return run, new


@pytest.mark.parametrize("moves", range(20))
def test_a_kill_while_it_takes_its_place(tmp_path, monkeypatch, moves):
    """The change of places stops after so many files, and is finished by whoever looks next."""
    run, new = old_and_new(tmp_path / "run")
    expected = {path.name for path in (*new.files, new.config_file) if path.exists()}
    left, replace = moves, Path.replace

    def limited(path: Path, target: Path) -> Path:
        nonlocal left
        if not left:
            raise OSError(28, "No space left on device")
        left -= 1
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", limited)
    try:
        Workplace.at(run.path)
    except RunError as error:
        assert "cannot take its place: No space left on device; --resume tries again" in str(error)  # noqa: PT017
        assert not run.is_finished(), "a mixture is not taken for a run"
    monkeypatch.undo()
    assert Workplace.at(run.path).work.path == run.path / FOLDER
    found = content(run.path)
    assert {name for name in found if "/" not in name} == {*expected, "notes.txt"}
    assert {text for name, text in found.items() if name != "notes.txt"} == {b"new"}
    assert not new.path.exists()
    assert not run.checkpoints_folder.exists()


def test_what_a_kill_left_does_not_block_a_folder(shapes, tmp_path):
    (tmp_path / ".tl-0123456789abcdef.tmp").write_text("half a config.toml")
    place = Workplace.at(tmp_path)
    config = TrainConfig.of(str(shapes))
    place.check(config, overwrite=False, resume=False)
    place.start(config)
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


def test_a_hidden_folder_and_one_beside_the_images_may_hold_the_run(shapes, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(shapes, root)
    for out in (root / ".runs" / "first", tmp_path / "data-run"):
        Workplace.at(out).check(TrainConfig.of(str(root)), overwrite=False, resume=False)
    (tmp_path / "link").symlink_to(root)
    with pytest.raises(
        RunError, match=r"link/run: lies in the images' folder .*data, where it would be read as a class"
    ):
        Workplace.at(tmp_path / "link" / "run").check(TrainConfig.of(str(root)), overwrite=False, resume=False)


class StartAnother(Progress):
    """Starts a second run in the folder of the first, once that has begun."""

    def __init__(self, config: TrainConfig, out: Path) -> None:
        self.config, self.out, self.errors = config, out, []

    def epoch(self, row: Epoch) -> None:
        for options in ({}, {"overwrite": True}, {"resume": True}):
            try:
                train(self.config, self.out, **options)
            except RunError as error:
                self.errors.append(str(error))


def test_two_runs_do_not_write_to_one_folder(shapes, tmp_path):
    config = TrainConfig.of(str(shapes), arch="timm:test_efficientnet", weights="none", size=32, epochs=1, **BY_STEPS)
    started = StartAnother(config, tmp_path / "run")
    train(config, tmp_path / "run", progress=started)
    assert len(started.errors) == 3
    assert all("another tl-train is running in this folder; wait for it, or" in error for error in started.errors)
    train(config, tmp_path / "run", overwrite=True)


def test_a_run_that_is_taking_its_place_is_left_to_do_so(tmp_path):
    run, new = old_and_new(tmp_path / "run")
    before = content(run.path)
    with hold_folder(run.path), pytest.raises(RunError, match="another tl-train is running in this folder"):
        Workplace.at(run.path)
    assert content(run.path) == before
    Workplace.at(run.path)
    assert not new.path.exists()


def test_a_run_that_was_finished_meanwhile_is_not_cleared(shapes, tmp_path):
    first, second = Workplace.at(tmp_path / "run"), Workplace.at(tmp_path / "run")
    config = TrainConfig.of(str(shapes))
    for place in (first, second):
        place.check(config, overwrite=False, resume=False)
    with first.held():
        first.start(config)
        first.run.save_metrics({})
    with pytest.raises(RunError, match="another tl-train has finished a run here meanwhile; choose another --out"):
        second.held()
    assert first.run.is_finished()


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_computed(shapes):
    place = Workplace.at(Path("/proc/self/run"))
    with pytest.raises(RunError, match="/proc/self/run: cannot be used as the run's folder: /proc/self: cannot be wri"):
        place.check(TrainConfig.of(str(shapes)), overwrite=False, resume=False)
