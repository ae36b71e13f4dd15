"""tl_train.run.familiarity: from images that the network did not learn from, or not at all."""

import pytest

from support.loading import BY_STEPS
from tl_train import TrainConfig, train
from tl_train.errors import ConfigError
from tl_train.run_folder.folder import RunFolder

FIELDS = {"arch": "timm:test_efficientnet", "weights": "none", "size": 64, "batch_size": 16}


def test_a_backbone_that_learned_is_judged_by_validation_images(many_shapes, tmp_path):
    config = TrainConfig.of(str(many_shapes), epochs=1, val_split=0.6, **FIELDS, **BY_STEPS)
    result = train(config, tmp_path / "run")
    report = result.familiarity.report
    assert report.source == "validation images"
    assert report.images == 114
    assert RunFolder(tmp_path / "run").familiarity().bank.shape[0] == 78
    assert RunFolder(tmp_path / "run").spec().familiarity.images == 114
    assert [found.name for found in report.unknown] == ["noise", "blank", "text", "digits"]


def test_too_few_of_them_are_told_with_the_remedy(tiny_run):
    run = RunFolder(tiny_run)
    note = run.metrics()["familiarity"]["note"]
    assert note.startswith("No familiarity: 3 validation images are too few (at least 100 are needed)")
    assert note.endswith("hold more back with --val-split")
    assert run.spec().familiarity is None
    assert run.familiarity() is None
    assert not run.familiarity_file.exists()
    assert note in run.report_file.read_text()


def test_a_folder_of_unknown_images_is_looked_for_before_anything_is_trained(many_shapes, tmp_path):
    config = TrainConfig.of(str(many_shapes), unknown=str(tmp_path / "absent"), **FIELDS)
    with pytest.raises(ConfigError, match=r"unknown: found .*absent, expected a folder of images"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
