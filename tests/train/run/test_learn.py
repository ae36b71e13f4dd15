"""tl_train.run.learn: the head first, the last stages where they pay, and always a whole model."""

import csv
import json
import shutil

import pytest
import safetensors.torch
import torch

from support.pictures import draw_shape
from tl_export import export
from tl_infer import Classifier
from tl_train import TrainConfig, train
from tl_train.errors import CalibrationError, DataError
from tl_train.evaluation.calibration import Calibration
from tl_train.head.fit_head import FittedHead
from tl_train.history import History
from tl_train.progress import Progress
from tl_train.run.judge import CROSS_FITTED, TrainedNetwork, evaluate_held_out
from tl_train.run.learn import Learned
from tl_train.run.prepare import prepare

FIELDS = {"arch": "timm:test_efficientnet", "weights": "none", "size": 64, "prior": "none"}


def weights_of(run):
    return safetensors.torch.load_file(run / "weights.safetensors")


def run_facts(run):
    return json.loads((run / "metrics.json").read_text())["run"]


class Watch(Progress):
    """Keeps what the user is told; raises `error` when the row of that epoch is shown."""

    def __init__(self, epoch: int = 0, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.lines: list[str] = []
        self._epoch, self._error = epoch, error
        self._rows = 0

    def note(self, text: str) -> None:
        self.lines.append(text)

    def epoch(self, row) -> None:
        super().epoch(row)
        if row.val_loss is None and row.epoch == self._epoch:  # the head's row has validation figures
            raise self._error


@pytest.fixture(scope="module")
def partial_run(many_shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp("partial") / "run"
    train(TrainConfig.of(str(many_shapes), mode="partial", epochs=3, lr=1e-3, batch_size=16, **FIELDS), out)
    return out


def test_the_first_stages_stay_and_the_last_are_trained(partial_run, many_shapes, tmp_path):
    train(TrainConfig.of(str(many_shapes), mode="head", **FIELDS), tmp_path / "head")
    head, partial = weights_of(tmp_path / "head"), weights_of(partial_run)
    changed = {name for name in head if not torch.equal(head[name], partial[name])}
    facts = run_facts(partial_run)
    if "(kept); the stages" in facts["tried"]:  # the head alone was better
        assert changed == set()
    else:
        assert "classifier.weight" in changed
    assert not any(name.startswith(("conv_stem", "bn1", "blocks.0")) for name in changed)
    assert 0 < facts["activation_difference"] < 0.01  # of float16
    with (partial_run / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) in (1, 3)


def test_the_run_is_an_ordinary_one_and_is_proven(partial_run, tmp_path):
    result = export(partial_run, tmp_path / "shapes.onnx")
    assert result.proof.top1_agreement == 1
    assert Classifier(result.path).labels == ("circle", "cross", "square")


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interrupted_run_goes_on_to_the_same_weights(partial_run, many_shapes, tmp_path, epoch):
    class Stop(Exception):  # noqa: N818 - not an error of the program
        pass

    config = TrainConfig.of(str(many_shapes), mode="partial", epochs=3, lr=1e-3, batch_size=16, **FIELDS)
    with pytest.raises(Stop):
        train(config, tmp_path / "run", progress=Watch(epoch + 1, Stop))
    progress = Watch()
    train(config, tmp_path / "run", resume=True, progress=progress)
    assert f"Continuing after epoch {epoch}" in progress.lines
    expected, found = weights_of(partial_run), weights_of(tmp_path / "run")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_all_of_train_is_trained_on_where_there_is_a_second_part(many_shapes, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(many_shapes)
    for shape in ("circle", "cross", "square"):
        (tmp_path / "data" / "valid" / shape).mkdir(parents=True)
        for number in range(1000, 1004):
            draw_shape(shape, number).save(tmp_path / "data" / "valid" / shape / f"{number}.png")
    config = TrainConfig.of(str(tmp_path / "data"), mode="partial", epochs=1, **FIELDS)
    train(config, tmp_path / "run")
    assert run_facts(tmp_path / "run")["pictures"] == "240 train, 0 validation, 12 test"
    calibration = json.loads((tmp_path / "run" / "metrics.json").read_text())["calibration"]
    kept_head = "training images (each judged by a head fitted without it)"
    assert (calibration["source"], calibration["pictures"]) in (
        (kept_head, 240), ("training images, held back from a first training", 36)
    )  # fmt: skip


def test_auto_keeps_the_head_where_images_are_too_few_to_tell(shapes, tmp_path):
    progress = Watch()
    train(TrainConfig.of(str(shapes), mode="auto", **FIELDS), tmp_path / "run", progress=progress)
    assert any("too few to hold some back" in line for line in progress.lines)
    assert "tried" not in run_facts(tmp_path / "run")


def test_auto_keeps_the_head_when_the_time_is_over(many_shapes, tmp_path):
    progress = Watch()
    config = TrainConfig.of(str(many_shapes), mode="auto", time_limit=1e-6, **FIELDS)
    train(config, tmp_path / "run", progress=progress)
    assert "Keeping the head: time limit reached" in progress.lines


def test_ctrl_c_in_auto_leaves_a_complete_run_with_the_head(many_shapes, tmp_path):
    progress = Watch(2)
    config = TrainConfig.of(str(many_shapes), mode="auto", epochs=3, **FIELDS)
    result = train(config, tmp_path / "run", progress=progress)
    assert result.interrupted
    assert "Keeping the head: interrupted" in progress.lines
    train(TrainConfig.of(str(many_shapes), mode="head", **FIELDS), tmp_path / "head")
    expected, found = weights_of(tmp_path / "head"), weights_of(tmp_path / "run")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_stage_that_is_none_is_named_with_those_that_there_are(many_shapes, tmp_path):
    from tl_train.errors import ConfigError

    config = TrainConfig.of(str(many_shapes), mode="partial", freeze_until="blocks.99", **FIELDS)
    with pytest.raises(ConfigError, match=r"freeze_until: found 'blocks.99', expected .*: blocks.1, blocks.2"):
        train(config, tmp_path / "run")


def test_training_that_harms_leaves_the_head(many_shapes, tmp_path):
    progress = Watch()
    config = TrainConfig.of(str(many_shapes), mode="full", epochs=2, lr=1.0, val_split=0.3, **FIELDS)
    result = train(config, tmp_path / "run", progress=progress)
    assert any(line.endswith("keeping the head alone (alpha 0)") for line in progress.lines)
    assert [way.kept for way in result.tried] == [True, False]
    assert run_facts(tmp_path / "run")["training"] == "head fitted at once, with a penalty"
    assert run_facts(tmp_path / "run")["kept_epoch"] == 0
    assert run_facts(tmp_path / "run")["trained_parameters"] == 256 * 3 + 3, "the head's"
    with (tmp_path / "run" / "history.csv").open() as file:  # what was trained, in vain, can be looked at
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    assert (tmp_path / "run" / "curves.png").is_file()
    assert (result.calibration.source, result.calibration.pictures) == ("validation images", 57)
    assert run_facts(tmp_path / "run")["training"] == "head fitted at once, with a penalty"
    train(TrainConfig.of(str(many_shapes), mode="head", **FIELDS), tmp_path / "head")
    expected, found = weights_of(tmp_path / "head"), weights_of(tmp_path / "run")
    assert {name for name in expected if not torch.equal(expected[name], found[name])} <= {
        "classifier.weight", "classifier.bias"  # fitted without the validation images
    }  # fmt: skip


def test_more_epochs_after_a_head_that_was_kept_alone_begin_with_the_first(many_shapes, tmp_path):
    """None of the epochs is in the weights, so none of them can be gone on from."""
    steps = {"mode": "full", "lr": 1.0, "val_split": 0.3, **FIELDS}
    assert train(TrainConfig.of(str(many_shapes), epochs=1, **steps), tmp_path / "run").kept_epoch == 0
    progress, config = Watch(), TrainConfig.of(str(many_shapes), epochs=2, **steps)
    resumed = train(config, tmp_path / "run", resume=True, progress=progress)
    assert any(line.startswith("2 epochs instead of 1, from the first one on") for line in progress.lines)
    begun_anew = train(config, tmp_path / "anew")
    losses = [[row.train_loss for row in result.history] for result in (resumed, begun_anew)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 2


def test_validation_images_that_give_the_accuracy_leave_the_calibration_to_cross_fitting(many_shapes, tmp_path):
    steps = {"mode": "head", "head_fit": "sgd", "epochs": 1, "val_split": 0.2}
    result = train(TrainConfig.of(str(many_shapes), test_split=0.0, **{**FIELDS, **steps}), tmp_path / "run")
    assert (result.calibration.source, result.calibration.pictures) == (CROSS_FITTED, 192)
    assert (result.evaluation.part, len(result.evaluation.truth)) == ("val", 48)


@pytest.mark.parametrize(
    ("images", "mode", "message"),
    [
        (1, "head", r"class 'rare': 1 training image\(s\), expected at least 2 .*use --head-fit sgd"),
        (2, "partial", r"class 'rare': 2 training image\(s\), expected at least 3 .*use --mode head"),
    ],
)
def test_a_class_too_small_to_learn_and_hold_out_is_named(shapes, tmp_path, images, mode, message):
    shutil.copytree(shapes, tmp_path / "data")
    (tmp_path / "data" / "rare").mkdir()
    for number in range(images):
        draw_shape("circle", 100 + number).save(tmp_path / "data" / "rare" / f"{number}.png")
    config = TrainConfig.of(str(tmp_path / "data"), mode=mode, test_split=0.0, val_split=0.0, **FIELDS)
    with pytest.raises(DataError, match=message):
        prepare(config, Progress())


def test_answers_that_are_no_numbers_give_no_accuracy(shapes):
    setup = prepare(TrainConfig.of(str(shapes), mode="full", head_fit="sgd", **FIELDS), Progress())
    with torch.no_grad():
        setup.network.head.bias.fill_(torch.nan)
    network = TrainedNetwork(setup, Learned(History([], 0), FittedHead([])))
    with pytest.raises(CalibrationError, match="logits: found values that are not finite"):
        evaluate_held_out(network, Calibration(1.0, None, 0, "images"))


def test_training_that_helps_is_kept_and_goes_on(many_shapes, tmp_path):
    steps = {"epochs": 12, "head_epochs": 0, "finetune_lr": 3e-3, "schedule": "cosine"}
    config = TrainConfig.of(str(many_shapes), mode="gradual", val_split=0.3, **steps, **FIELDS)
    result = train(config, tmp_path / "run")
    (head, trained) = result.tried
    assert trained.kept
    assert trained.judged[0] < head.judged[0]
    assert trained.name.startswith("all parameters, alpha ")
    assert len(result.history) == 12
    assert export(tmp_path / "run", tmp_path / "shapes.onnx").proof.top1_agreement == 1
    # One epoch more is held against the same head on the backbone as it came, not on the one that was trained.
    more = train(config.changed(epochs=13), tmp_path / "run", resume=True)
    assert more.history[:12] == result.history
    assert more.tried[0].judged == head.judged


def test_images_that_give_the_accuracy_choose_nothing(many_shapes, tmp_path):
    config = TrainConfig.of(str(many_shapes), mode="full", epochs=1, test_split=0.0, **FIELDS)
    assert train(config, tmp_path / "run").tried == ()
