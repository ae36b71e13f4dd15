"""The problem that a run's head is the solution of, found again from what the run left."""

import numpy as np
import pytest

from support.loading import Notes
from tl_train import TrainConfig, train
from tl_train.data.dataset import Dataset, load_dataset
from tl_train.data.sources.reading import read_source
from tl_train.data.survey import PerImage
from tl_train.head.features import BackboneFeatures, part_of
from tl_train.head.problem import HeadProblem
from tl_train.models.architectures import find_architecture
from tl_train.models.network import build_network
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress
from tl_train.run.head_again import head_problem_of
from tl_train.run_folder.folder import RunFolder

ARCHITECTURE = find_architecture("timm:test_efficientnet")


@pytest.fixture(scope="module")
def weights(tiny_run, tmp_path_factory):
    """A file to start from, which may go away."""
    path = tmp_path_factory.mktemp("weights") / "start.safetensors"
    path.write_bytes(RunFolder(tiny_run).weights_file.read_bytes())
    return path


@pytest.fixture(scope="module")
def run(weights, shapes, tmp_path_factory):
    """A penalised head on the frozen backbone."""
    out = tmp_path_factory.mktemp("frozen")
    config = TrainConfig.of(
        str(shapes), arch=ARCHITECTURE.name, weights=str(weights), size=64, mode="head", prior="none",
        class_weights="balanced",
    )  # fmt: skip
    train(config, out)
    return RunFolder(out)


def data_of(run: RunFolder, features: PerImage | None = None) -> Dataset:
    config = run.config()
    return load_dataset(config, read_source(config, Progress()), Progress(), features)


def problem_of(run: RunFolder, dataset: Dataset, progress: Progress | None = None) -> HeadProblem | None:
    return head_problem_of(run, dataset, ARCHITECTURE, progress or Progress())


def test_its_solution_on_the_same_features_is_the_head_of_the_run(run, weights):
    network = build_network(ARCHITECTURE, str(weights), 3)
    features = BackboneFeatures.of(network, Preprocessor(run.spec().preprocess), Progress())
    dataset = data_of(run, features)
    problem = problem_of(run, dataset)
    assert problem is not None
    part = part_of(dataset, dataset.train)
    found, tensors = problem.fit(part.features, part.labels), run.weights()
    np.testing.assert_allclose(found.weight, tensors["classifier.weight"].numpy(), atol=1e-5)
    np.testing.assert_allclose(found.bias, tensors["classifier.bias"].numpy(), atol=1e-5)


def test_there_is_none_where_the_backbone_learned_or_the_head_took_steps(run, tiny_run):
    dataset = data_of(run)
    assert problem_of(RunFolder(tiny_run), dataset) is None
    original = run.weights_file.read_bytes()
    try:
        run.save_model(build_network(ARCHITECTURE, "none", 3).module, run.spec())
        assert problem_of(run, dataset) is None
    finally:
        run.weights_file.write_bytes(original)
    assert problem_of(run, dataset) is not None


def test_there_is_none_where_the_starting_weights_are_gone_and_a_note_says_so(run, weights, tmp_path):
    dataset, notes = data_of(run), Notes()
    away = weights.rename(tmp_path / "away.safetensors")
    try:
        assert problem_of(run, dataset, notes) is None
    finally:
        away.rename(weights)
    (line,) = notes.lines
    assert line.startswith("The head cannot be fitted again as it was: ")
    assert str(weights) in line
