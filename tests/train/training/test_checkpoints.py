import csv
import hashlib
import io
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import safetensors.torch
import torch

from support.loading import BY_STEPS, Notes
from tl_train import train
from tl_train.config import TrainConfig
from tl_train.errors import RunError
from tl_train.history import Epoch
from tl_train.models.architectures import find_architecture
from tl_train.models.new_head import put_new_head
from tl_train.progress import Progress
from tl_train.setup import Identity
from tl_train.training.checkpoints import FOLDER, load_checkpoint, restoring
from tl_train.training.epochs import _State

TL_TRAIN = [sys.executable, "-c", "from tl_train.cli import main; main()"]
FIELDS = {
    "arch": "timm:test_efficientnet", "weights": "none", "size": 32, "epochs": 6, "mode": "gradual", "head_epochs": 2,
    "optimizer": "adamw", "schedule": "cosine", "warmup_epochs": 0.5, "ema": 0.9, "patience": 5, "augment": "standard",
}  # fmt: skip
FIELDS |= {"head_fit": "sgd", "prior": "none"}
OPTIONS = [text for name, value in FIELDS.items() for text in (f"--{name.replace('_', '-')}", str(value))]


def weights_of(run):
    return safetensors.torch.load_file(run / "weights.safetensors")


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


class Stop(Exception):  # noqa: N818 - not an error of the program
    pass


class StopAfter(Progress):
    """Leaves the training by an exception once the table has that many rows."""

    def __init__(self, rows: int) -> None:
        self._last = rows

    def note(self, text: str) -> None:
        if text.split()[0] == str(self._last + 1) and "%" in text:
            raise Stop


@pytest.fixture(scope="module")
def config(shapes):
    return TrainConfig.of(str(shapes), **FIELDS)


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory):
    return weights_of(train(config, tmp_path_factory.mktemp("undisturbed") / "run").out)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_an_interrupted_run_ends_with_the_same_weights(config, undisturbed, tmp_path, rows):
    with pytest.raises(Stop):
        train(config, tmp_path / "run", progress=StopAfter(rows))
    assert 1 <= len(list((tmp_path / "run" / FOLDER).iterdir())) <= 2
    train(config, tmp_path / "run", resume=True)
    assert_same_weights(weights_of(tmp_path / "run"), undisturbed)
    assert not (tmp_path / "run" / FOLDER).exists()


@pytest.mark.parametrize("delay_s", [0.0, 0.35])
def test_a_killed_run_ends_with_the_same_weights(shapes, undisturbed, tmp_path, delay_s):
    out = tmp_path / "run"
    command = [*TL_TRAIN, str(shapes), "--out", str(out), *OPTIONS]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.strip().startswith("2 "):  # the second epoch's row: its checkpoint is being written now
            break
    time.sleep(delay_s)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    process.stderr.close()
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=120, check=False)
    if "the run is finished" not in done.stderr:
        assert done.returncode == 0, done.stderr
        assert "Continuing after epoch" in done.stderr
    assert_same_weights(weights_of(out), undisturbed)


def test_a_damaged_newest_checkpoint_costs_one_epoch(config, undisturbed, tmp_path):
    with pytest.raises(Stop):
        train(config, tmp_path / "run", progress=StopAfter(4))
    newest = max((tmp_path / "run" / FOLDER).iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    train(config, tmp_path / "run", resume=True)
    assert_same_weights(weights_of(tmp_path / "run"), undisturbed)


def test_another_configuration_or_other_data_are_refused_by_name(config, shapes, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    config = config.changed(data=str(data))
    with pytest.raises(Stop):
        train(config, tmp_path / "run", progress=StopAfter(2))
    with pytest.raises(RunError, match=r"with other options \(then, now\): lr: 0.001, 0.01"):
        train(config.changed(lr=0.01), tmp_path / "run", resume=True)
    with pytest.raises(RunError, match=r"holds an unfinished run; continue it with --resume"):
        train(config, tmp_path / "run")
    shutil.copy(data / "circle" / "circle1.png", data / "circle" / "circle2.png")
    with pytest.raises(RunError, match="the images, labels or their split have changed"):
        train(config, tmp_path / "run", resume=True)


def test_what_cannot_be_resumed_is_explained(config, tiny_run, tmp_path):
    with pytest.raises(RunError, match="holds no run to resume; start it without --resume"):
        train(config, tmp_path / "run", resume=True)
    with pytest.raises(RunError, match="the run is finished, there is nothing to resume"):
        train(config, tiny_run, resume=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_run_resumable(shapes, tmp_path, number, code):
    out = tmp_path / "run"
    command = [*TL_TRAIN, str(shapes), "--out", str(out), *OPTIONS, "--epochs", "1000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.strip().startswith("3 "):
            break
    process.send_signal(number)
    stderr = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == code
    assert "Traceback" not in stderr
    assert len(list((out / FOLDER).glob("epoch-*.pt"))) == 2


def test_a_finished_run_goes_on_with_more_epochs(shapes, tmp_path):
    config = TrainConfig.of(str(shapes), arch="timm:test_efficientnet", weights="none", size=32, epochs=2, **BY_STEPS)
    first = train(config, tmp_path / "run")
    with pytest.raises(RunError, match="the run is finished, there is nothing to resume"):
        train(config, tmp_path / "run", resume=True)
    more = train(config.changed(epochs=3), tmp_path / "run", resume=True)
    assert more.history[:2] == first.history
    assert len(more.history) == 3
    assert TrainConfig.load(tmp_path / "run" / "config.toml").steps.epochs == 3
    with pytest.raises(RunError, match="the run is finished"):
        train(config.changed(epochs=4, lr=0.01), tmp_path / "run", resume=True)


def test_a_run_that_goes_on_keeps_its_best_epoch_unless_a_later_one_is_better(shapes, tmp_path):
    out, fields = tmp_path / "run", {"arch": "timm:test_efficientnet", "weights": "none", "size": 32, "patience": 1}
    config = TrainConfig.of(str(shapes), epochs=2, **fields, **BY_STEPS)
    kept = train(config, out).kept_epoch
    before = weights_of(out)
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    rows[kept - 1]["val_loss"] = "0.0"  # which no epoch can better
    with (out / "history.csv").open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    more = train(config.changed(epochs=9), out, resume=True)
    assert len(more.history) == len(rows) + 1  # patience counts from where it went on
    assert more.kept_epoch == kept
    assert_same_weights(weights_of(out), before)


DAMAGE = {
    "empty": lambda content: b"",
    "not of torch": lambda content: b"PK\3\4garbage",
    "a list": lambda content: [content],
    "no identity": lambda content: {"state": content["state"]},
    "an identity that is no JSON": lambda content: {**content, "identity": "["},
    "an identity of other parts": lambda content: {**content, "identity": "{}"},
    "an identity nested deeply": lambda content: {**content, "identity": "[" * 100_000},
    "no state": lambda content: {"identity": content["identity"]},
}
MISFITS = {
    "no model": lambda state: state.pop("model"),
    "another model": lambda state: state["model"].popitem(),
    "a model that is none": lambda state: state.update(model=5),
    "no optimizer": lambda state: state.update(optimizer={}),
    "another optimizer": lambda state: next(iter(state["optimizer"]["state"].values())).update(
        exp_avg=torch.zeros(2, 3)
    ),
    "no history": lambda state: state.pop("history"),
    "another history": lambda state: state.update(history=[("1", 2, 3)]),
    "a history of texts": lambda state: state.update(history=[("one", "two", 3, 4, 5, 6)]),
}


def rewrite(path, content):
    """A file of that content under the name that its checksum asks for."""
    if not isinstance(content, bytes):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        content = buffer.getvalue()
    path.unlink()
    path.with_name(f"{path.name[:13]}{hashlib.sha256(content).hexdigest()}.pt").write_bytes(content)


@pytest.fixture(scope="module")
def stopped(config, tmp_path_factory):
    """A run that stopped after its first epoch."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Stop):
        train(config, out, progress=StopAfter(1))
    return out


@pytest.fixture
def checkpoint(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    (path,) = (tmp_path / "run" / FOLDER).iterdir()
    return path


@pytest.mark.parametrize("kind", [*DAMAGE, "a folder", "a FIFO"])
def test_a_crafted_checkpoint_is_passed_over(config, checkpoint, kind):
    content = torch.load(checkpoint, weights_only=True)
    identity = Identity(config, "", {}, 1)
    if kind in DAMAGE:
        rewrite(checkpoint, DAMAGE[kind](content))
    else:
        checkpoint.unlink()
        checkpoint.mkdir() if kind == "a folder" else os.mkfifo(checkpoint)
    notes = Notes()
    assert load_checkpoint(checkpoint.parents[1], identity, notes) is None
    assert "damaged checkpoint (" in notes.lines[0]
    assert notes.lines[1].endswith("no undamaged checkpoint; starting with the first epoch")


@pytest.mark.parametrize("kind", MISFITS)
def test_a_checkpoint_that_does_not_fit_is_one_line(checkpoint, kind):
    content = torch.load(checkpoint, weights_only=True)
    MISFITS[kind](content["state"])
    module = find_architecture("timm:test_efficientnet").build()
    put_new_head(module, find_architecture("timm:test_efficientnet"), 3, "replace")
    state = _State(module, torch.optim.AdamW(module.parameters()), None, [])
    with pytest.raises(RunError, match=r"resume: the checkpoint does not fit this run: .*start again with --overwrite"):
        restore(state, content["state"], checkpoint.parents[1])


def restore(state, stored, out):
    with restoring(out):
        state.restore(stored)


def test_an_epoch_whose_validation_loss_is_no_number_is_never_the_best():
    module = torch.nn.Linear(2, 2)
    state = _State(module, torch.optim.Adam(module.parameters()), None, [])
    for epoch, val_loss in enumerate((math.nan, 0.5, math.nan, 0.7), start=1):
        state.history.append(Epoch(epoch, 0.1, 1.0, val_loss, 0.5, 1.0))
        state.remember_best(patience=3)
    assert state.best[:2] == (0.5, 2)
