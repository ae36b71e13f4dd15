import json

import pytest
import torch

from tl_train import TrainConfig
from tl_train.cache.disk import cache_subfolder
from tl_train.errors import RunError
from tl_train.progress import Progress
from tl_train.run.prepare import prepare
from tl_train.training.checkpoints import FOLDER
from tl_train.training.step_form import StepForm, _key, choose_form, usual_form

FIELDS = {"weights": "none", "size": 32, "prior": "none", "head_fit": "sgd", "mode": "full", "batch_size": 4}


def setup_of(shapes, **fields):
    return prepare(TrainConfig.of(str(shapes), **{"arch": "timm:test_efficientnet", **FIELDS, **fields}), Progress())


class Notes(Progress):
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


def test_a_short_training_is_not_worth_a_trial(shapes, tmp_path):
    setup, progress = setup_of(shapes, epochs=2), Notes()
    assert choose_form(setup, tmp_path, progress) == usual_form(setup) == StepForm("channels_last", "32-true")
    assert progress.lines == []
    assert not (tmp_path / FOLDER).exists()


def test_a_trial_is_kept_for_the_run_and_for_later_ones(shapes, tmp_path):
    setup, progress = setup_of(shapes, epochs=100), Notes()
    before = torch.get_rng_state()
    weights = {name: tensor.clone() for name, tensor in setup.network.module.state_dict().items()}
    form = choose_form(setup, tmp_path, progress)
    (told,) = progress.lines
    for tried in ("channels_last, 32-true", "contiguous, 32-true", "channels_last, bf16-mixed", f"Taken: {form}"):
        assert tried in told
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(weights[name], tensor) for name, tensor in setup.network.module.state_dict().items())
    (tmp_path / "other").mkdir()
    assert choose_form(setup, tmp_path / "other", progress) == form
    assert len(progress.lines) == 1, "tried again"
    path = tmp_path / FOLDER / "form.json"
    path.write_text(json.dumps({"layout": "contiguous", "precision": "bf16-mixed"}))
    assert choose_form(setup, tmp_path, progress) == StepForm("contiguous", "bf16-mixed")
    path.write_text("{}")
    with pytest.raises(RunError, match=r"form.json: cannot be read: layout: the field is missing; start again"):
        choose_form(setup, tmp_path, progress)


def test_a_network_that_channels_last_would_crash_is_not_tried_in_it(shapes, tmp_path):
    setup, progress = setup_of(shapes, epochs=100, no_cache=True), Notes()
    setup.network.module.add_module("unused", torch.nn.Conv2d(3, 3, 1, stride=2))
    assert choose_form(setup, tmp_path, progress).layout == "contiguous"
    assert "channels_last" not in progress.lines[0]


def test_a_precision_that_is_asked_for_is_taken(shapes, tmp_path):
    setup = setup_of(shapes, epochs=100, precision="bf16-mixed")
    assert usual_form(setup).precision == "bf16-mixed"
    assert choose_form(setup, tmp_path, Progress()).precision == "bf16-mixed"


def test_what_a_trial_found_is_taken_where_it_cannot_be_kept(shapes, tmp_path):
    """A folder in the place of the file, as on a full disk: it is tried once."""
    setup, progress = setup_of(shapes, epochs=101, batch_size=5), Notes()
    (cache_subfolder("steps") / f"{_key(setup, torch.device('cpu'))}.json").mkdir()
    choose_form(setup, tmp_path, progress)
    assert len(progress.lines) == 1
