"""tl_train.run.choose_architecture: several architectures on the same training images, and one of them."""

import dataclasses
import json
import re

import pytest

from tl_train import TrainConfig, dry_run, train
from tl_train.errors import ConfigError, RunError
from tl_train.progress import Progress
from tl_train.run.candidates import is_permissive
from tl_train.run.choose_architecture import choose, compare_architectures, with_chosen
from tl_train.run_folder.compared import ComparedArchitecture, load_compared, save_compared, table_lines
from tl_train.run_folder.workplace import Workplace

TINY = ("timm:test_efficientnet", "timm:test_vit")
FIELDS = {"weights": "none", "size": 64, "prior": "none", "mode": "head", "val_split": 0.0}


def row(name, accuracy, ms, licence="Apache-2.0"):
    error, log_loss = (None, None) if accuracy is None else (0.01, 1 - accuracy)
    return ComparedArchitecture(
        name=name, size="224", licence=licence, ms=ms, accuracy=accuracy, standard_error=error, log_loss=log_loss
    )


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([row("a", 0.90, 9), row("b", 0.905, 14), row("c", 0.908, 20)], "a"),
        ([row("a", 0.88, 9), row("b", 0.905, 14), row("c", 0.908, 20)], "b"),
        ([row("a", 0.88, 9), row("b", 0.89, 14), row("c", 0.92, 20)], "c"),
        ([row("a", 0.90, 9, licence="cc-by-nc-4.0"), row("b", 0.90, 14)], "b"),
        ([row("a", 0.95, 9, licence="cc-by-nc-4.0"), row("b", 0.90, 14)], "a"),
        ([row("a", None, None), row("b", None, 14), row("c", None, None)], "b"),
    ],
)
def test_the_fastest_within_a_standard_error_is_taken(rows, chosen):
    assert choose(rows).name == chosen


def test_licences_are_told_apart_by_what_they_allow():
    assert is_permissive("apache-2.0")
    assert is_permissive("BSD-3-Clause")
    assert not is_permissive("cc-by-nc-4.0")
    assert not is_permissive("")


@pytest.fixture(scope="module")
def compared_run(shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "run"
    return train(TrainConfig.of(str(shapes), arch=", ".join(TINY), **FIELDS), out)


def test_a_run_tells_what_was_compared_and_is_the_chosen_one(compared_run):
    out = compared_run.out
    rows = load_compared(out / "architectures.json")
    assert rows == compared_run.architectures
    assert [one.name for one in rows] == list(TINY)
    (chosen,) = [one for one in rows if one.chosen]
    assert choose(rows) == chosen
    assert all(0 <= one.accuracy <= 1 and one.standard_error >= 1 / 30 and one.ms > 0 for one in rows)
    facts = json.loads((out / "metrics.json").read_text())["run"]
    assert facts["architecture"] == chosen.name
    assert [one["name"] for one in facts["architectures"]] == list(TINY)
    assert json.loads((out / "spec.json").read_text())["architecture"] == chosen.name
    assert "Architectures compared" in (out / "report.html").read_text()
    assert f'arch = "{TINY[0]}, {TINY[1]}"' in (out / "config.toml").read_text()


def test_the_table_has_a_line_for_each(compared_run):
    header, *lines = table_lines(compared_run.architectures)
    assert header.split()[:3] == ["architecture", "px", "accuracy"]
    assert len(lines) == len(TINY)
    assert sum("chosen" in line for line in lines) == 1
    assert all(re.search(r"\d+\.\d% ± \d+\.\d%", line) for line in lines)


def test_what_was_compared_is_read_back_or_refused(tmp_path, compared_run):
    path = tmp_path / "architectures.json"
    save_compared(path, compared_run.architectures)
    assert load_compared(path) == compared_run.architectures
    path.write_text(path.read_text().replace('"chosen": true', '"chosen": false'))
    with pytest.raises(RunError, match="names no chosen architecture; start again with --overwrite"):
        load_compared(path)
    path.write_text('[{"name": 1}]')
    with pytest.raises(RunError, match=r"architectures.json: cannot be read: architectures\[0\]"):
        load_compared(path)
    with pytest.raises(RunError, match="cannot be read"):
        load_compared(tmp_path / "absent.json")


class Stop(Exception):  # noqa: N818 - not an error of the program
    pass


class StopAt(Progress):
    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def epoch(self, row):
        if row.epoch == self._epoch:
            raise Stop


def test_a_run_that_goes_on_makes_no_other_choice(shapes, tmp_path):
    fields = {**FIELDS, "mode": "full", "head_fit": "sgd", "epochs": 2, "arch": ",".join(TINY)}
    with pytest.raises(Stop):
        train(TrainConfig.of(str(shapes), **fields), tmp_path / "run", progress=StopAt(2))
    path = tmp_path / "run" / "architectures.json"
    other = [dataclasses.replace(one, chosen=not one.chosen) for one in load_compared(path)]
    save_compared(path, other)  # as if it had been the other one
    with pytest.raises(RunError, match=r"arch was timm:test_.*, is timm:test_"):
        train(TrainConfig.of(str(shapes), **fields), tmp_path / "run", resume=True)


def test_a_run_killed_as_it_began_is_resumed_with_all_its_files(shapes, tmp_path, compared_run):
    """config.toml is the first file, and the one that says that there is a run to resume."""
    config, place = TrainConfig.of(str(shapes), arch=", ".join(TINY), **FIELDS), Workplace.at(tmp_path / "run")
    place.start(config)
    train(config, tmp_path / "run", resume=True)
    files = [sorted(path.name for path in out.iterdir()) for out in (tmp_path / "run", compared_run.out)]
    assert files[0] == files[1]
    assert "preflight.json" in files[0]


def test_without_time_only_the_first_is_judged(shapes):
    config = TrainConfig.of(str(shapes), arch=",".join(TINY), time_limit=1e-6, **FIELDS)
    rows = compare_architectures(config, Progress())
    assert [(one.name, one.chosen, one.note) for one in rows] == [
        (TINY[0], True, ""), (TINY[1], False, "no time left")
    ]  # fmt: skip
    assert with_chosen(config, rows).model.arch == TINY[0]


def test_one_that_cannot_be_used_is_left_out(shapes):
    names = ("timm:test_vit", "timm:test_efficientnet")
    config = TrainConfig.of(str(shapes), arch=",".join(names), **{**FIELDS, "weights": "default"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nowhere")
        with pytest.raises(ConfigError, match="no architecture can be used: weights of timm:test_vit: download failed"):
            compare_architectures(config, Progress())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arch": "auto", "weights": "none"}, "weights: found none, expected default with arch auto"),
        ({"arch": "a,b", "weights": "w.pth"}, "weights: found w.pth, expected default or none with arch a,b"),
        ({"arch": " , "}, "arch: found  , , expected a name, several with commas between them, or auto"),
    ],
)
def test_names_and_weights_must_suit_several(fields, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig.of("photos", **fields)


def test_an_unknown_name_in_a_list_is_told_at_once(shapes):
    config = TrainConfig.of(str(shapes), arch="efficientnet_lite0,efficientnet_lite9", **FIELDS)
    for attempt in (compare_architectures, dry_run):
        with pytest.raises(ConfigError, match="unknown architecture 'efficientnet_lite9'"):
            attempt(config, progress=Progress())
