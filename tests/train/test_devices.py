"""Several processes share a run: the metrics of one, each with its share of the images, and a clean end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tl_train import TrainConfig
from tl_train.errors import ConfigError
from tl_train.training.predict import EVAL_BATCH_SIZE
from tl_train.training.processes import check_processes

TL_TRAIN = [sys.executable, "-m", "tl_train"]  # the other process runs this command again
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tl_train"]
FIELDS = {
    "arch": "timm:test_efficientnet", "weights": "none", "size": 32, "epochs": 3, "mode": "gradual", "head_epochs": 1,
    "head_fit": "sgd", "prior": "none", "schedule": "cosine", "augment": "standard", "val_split": 0.3,
}  # fmt: skip
OPTIONS = [text for name, value in FIELDS.items() for text in (f"--{name.replace('_', '-')}", str(value))]
# Says of each image which process decoded it for its steps or its validation.
COUNTING = """
import os, sys
from pathlib import Path
from tl_train import TrainConfig, train
from tl_train.data.batches import KeptImages

data, out, fields = sys.argv[1], Path(sys.argv[2]), eval(sys.argv[3])
load = KeptImages.__call__

def counting(self, sample):
    with open(out.with_suffix("." + os.environ["RANK"]), "a") as file:
        print(sample.name, file=file)
    return load(self, sample)

KeptImages.__call__ = counting
result = train(TrainConfig.of(data, devices=2, **fields), out)
said = *(row.val_loss for row in result.history), result.evaluation is not None
out.with_suffix(f".said-{os.environ['RANK']}").write_text(" ".join(map(str, said)))
"""


def tl_train(data, out, *options, devices=2, start=TL_TRAIN):
    command = [*start, str(data), "--out", str(out), "--devices", str(devices), *OPTIONS, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process, code=0):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == code, errors
    # torchrun logs one of its own, within its lines, when the other machine's has ended before it.
    assert not any(line.startswith("Traceback") for line in errors.splitlines())
    return output, errors


def weights_of(run):
    return safetensors.torch.load_file(run / "weights.safetensors")


def others_of(process):
    """The processes that a process started."""
    lists = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(number) for numbers in lists for number in numbers.read_text().split()]


def wait_until(is_so):
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def wait_for_an_epoch(process, out):
    """Wait until an epoch of a run is behind it; a run that comes to no epoch is ended, and what it said is shown."""
    deadline = time.monotonic() + 120
    while not any((out / "resume").glob("epoch-*.pt")):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            output, errors = process.communicate()
            pytest.fail(f"no epoch; exit code {process.returncode}\n{output}\n{errors}")
        time.sleep(0.02)


@pytest.fixture(scope="module")
def two(shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp("two") / "run"
    output, _ = finish(tl_train(shapes, out))
    assert output.count("Test accuracy") == 1
    return out


def test_two_processes_come_to_the_metrics_of_one(shapes, two, tmp_path):
    finish(tl_train(shapes, tmp_path / "one", devices=1))
    assert_same_metrics(two, tmp_path / "one", 2e-3)


def test_processes_that_torchrun_started(shapes, two, tmp_path):
    out = tmp_path / "run"
    output, _ = finish(tl_train(shapes, out, start=TORCHRUN))
    assert output.count("Test accuracy") == 1
    assert_same_metrics(out, two, 1e-6)


def test_processes_on_two_machines(shapes, two, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = ["--master-addr", "127.0.0.1", "--master-port", str(free.getsockname()[1])]
    machine = [*TORCHRUN[:3], "--nnodes", "2", "--nproc-per-node", "1", *address, "--node-rank"]
    out = tmp_path / "run"
    runs = [tl_train(shapes, out, start=[*machine, str(rank), "-m", "tl_train"]) for rank in range(2)]
    assert [finish(run)[0].count("Test accuracy") for run in runs] == [1, 0]
    assert_same_metrics(out, two, 1e-6)


def assert_same_metrics(run, other, tolerance):
    one, two = (json.loads((out / "metrics.json").read_text())["held_out"] for out in (run, other))
    assert one["accuracy"] == two["accuracy"]
    assert one["log_loss"] == pytest.approx(two["log_loss"], abs=tolerance)
    tables = [(out / "history.csv").read_text().splitlines()[1:] for out in (run, other)]
    for here, there in zip(*tables, strict=True):
        _, loss, _, val_loss, val_accuracy, *_ = map(float, here.split(","))
        _, other_loss, _, other_val_loss, other_val_accuracy, *_ = map(float, there.split(","))
        assert (loss, val_loss) == pytest.approx((other_loss, other_val_loss), abs=tolerance)
        assert val_accuracy == other_val_accuracy


def test_each_process_decodes_its_share_and_comes_to_the_same_epochs(shapes, tmp_path):
    script, out, fields = tmp_path / "count.py", tmp_path / "run", FIELDS | {"epochs": 1, "mode": "full"}
    script.write_text(COUNTING)
    command = [sys.executable, str(script), str(shapes), str(out), repr(fields)]
    subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    first, second = ((out.with_suffix(f".{rank}")).read_text().splitlines() for rank in range(2))
    names = [*first, *second]
    assert len(names) == len(set(names)) == 30 - json.loads((out / "metrics.json").read_text())["held_out"]["pictures"]
    assert abs(len(first) - len(second)) <= EVAL_BATCH_SIZE + 1  # validation is shared by such batches
    said = (out.with_suffix(f".said-{rank}").read_text().split() for rank in range(2))
    (loss, is_whole), (other_loss, other_is_whole) = said
    assert loss == other_loss
    assert (is_whole, other_is_whole) == ("True", "False")


def test_an_interrupted_run_ends_all_processes_and_goes_on_to_the_same_weights(shapes, two, tmp_path):
    out = tmp_path / "run"
    process = tl_train(shapes, out)
    wait_for_an_epoch(process, out)
    others = others_of(process)
    process.send_signal(signal.SIGINT)
    _, errors = finish(process, 130)
    assert errors.count("Interrupted.") == 1
    assert others
    wait_until(lambda: not any(Path(f"/proc/{other}").exists() for other in others))
    finish(tl_train(shapes, out, "--resume"))
    resumed, undisturbed = weights_of(out), weights_of(two)
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in undisturbed)


def test_where_another_process_ends_the_first_one_says_so(shapes, tmp_path):
    out = tmp_path / "run"
    process = tl_train(shapes, out, "--epochs", "500")
    wait_for_an_epoch(process, out)
    os.kill(others_of(process)[0], signal.SIGKILL)
    _, errors = finish(process, 1)
    assert errors.splitlines()[-1].startswith("Error: another process of this run has ended")


def test_what_is_wrong_with_the_data_is_said_once(tmp_path):
    (tmp_path / "empty").mkdir()
    _, errors = finish(tl_train(tmp_path / "empty", tmp_path / "run"), 1)
    assert errors.count("Error:") == 1


def test_the_processes_of_torchrun_are_as_many_as_devices(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    check_processes(4)
    with pytest.raises(ConfigError, match="devices: found 2, expected 4, the processes that torchrun started"):
        check_processes(2)


def test_devices_are_idle_where_no_steps_are_shared():
    for mode in ("auto", "head", "partial"):
        assert TrainConfig.of("photos", mode=mode).idle_fields(["devices"]) == ["devices"]
    assert TrainConfig.of("photos", mode="full").idle_fields(["devices"]) == []
