"""tl_train.tensorboard: what TensorBoard itself reads from the events."""

import pytest

from tl_train.history import Epoch
from tl_train.progress import Progress
from tl_train.tensorboard import TensorBoardProgress

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def scalars(folder, name):
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, round(event.value, 6)) for event in events.Scalars(name)]


def row(number, loss):
    return Epoch(number, loss, 0.5, None, None, 1.0)


def test_epochs_become_scalars_and_none_is_left_out(tmp_path):
    progress = TensorBoardProgress(Progress(), tmp_path)
    progress.epoch(row(1, 0.75))
    progress.epoch(row(2, 0.5))
    assert scalars(tmp_path, "loss/train") == [(1, 0.75), (2, 0.5)]
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert "loss/validation" not in events.Tags()["scalars"]


def test_a_resumed_run_replaces_what_it_repeats(tmp_path):
    for loss in (0.75, 0.5):
        progress = TensorBoardProgress(Progress(), tmp_path)
        progress.epoch(row(1, loss))
        progress.epoch(row(2, loss))
    assert scalars(tmp_path, "loss/train") == [(1, 0.5), (2, 0.5)]
