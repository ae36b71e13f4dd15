import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from scipy.special import softmax
from torch import nn
from torch.nn import functional

from support.loading import Notes
from support.pictures import draw_shape
from tl_train.config import TrainConfig
from tl_train.errors import ConfigError, DataError
from tl_train.head.features import part_of
from tl_train.head.folds import Folding
from tl_train.head.penalised import LinearHead, fit_penalised_head
from tl_train.progress import Progress
from tl_train.run.prepare import prepare
from tl_train.training.checkpoints import FOLDER
from tl_train.training.interpolation import copy_weights
from tl_train.training.loop import Step
from tl_train.training.partial.partial import hold_back, train_partial
from tl_train.training.partial.stage_training import _take_step
from tl_train.training.predict import predict

FIELDS = {"arch": "timm:test_efficientnet", "prior": "none", "mode": "partial", "size": 64, "augment": "light"}
FIELDS |= {"epochs": 8, "batch_size": 16, "lr": 1e-2, "val_split": 0.0, "test_split": 0.1}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three classes of sixty drawn images each."""
    root = tmp_path_factory.mktemp("images")
    for shape, number in itertools.product(("circle", "cross", "square"), range(60)):
        (root / shape).mkdir(exist_ok=True)
        draw_shape(shape, number).save(root / shape / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def start(images, tiny_run):
    """Prepares runs of the drawn images, or of others, from weights that were trained a little."""
    weights = str(tiny_run / "weights.safetensors")
    return lambda out, data=images, **fields: Run(data, out, weights=weights, **fields)


class Run:
    """A run with the head fitted."""

    def __init__(self, data, out, **fields):
        self.config = TrainConfig.of(str(data), **FIELDS | fields)
        self.setup = prepare(self.config, Progress())
        self.network = self.setup.network
        self.out = out
        out.mkdir(exist_ok=True)
        self.put(self.fit_head(np.arange(len(self.setup.dataset.train))))
        self.before = copy_weights(self.network.module)

    def put(self, head):
        with torch.no_grad():
            self.network.head.weight.copy_(torch.from_numpy(head[0]))
            self.network.head.bias.copy_(torch.from_numpy(head[1]))

    def fit_head(self, images):
        dataset = self.setup.dataset
        part = part_of(dataset, [dataset.train[index] for index in images])
        zero = LinearHead.zero(len(dataset.labels), part.features.shape[1])
        found = fit_penalised_head(part.features, part.labels, zero, Folding(self.config.seed))
        return found.weight, found.bias

    def train(self, progress=None, **options):
        fabric = Fabric(accelerator="cpu", devices=1)
        return train_partial(fabric, self.setup, self.fit_head, self.out, progress or Notes(), **options)

    @property
    def weights(self):
        return copy_weights(self.network.module)


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    run = start(tmp_path_factory.mktemp("run") / "undisturbed")
    return run, run.train()


def test_the_last_stages_learn_and_the_first_stay(undisturbed):
    run, fitted = undisturbed
    assert fitted.cut.name == "blocks.1"
    assert [row.epoch for row in fitted.history.epochs] == list(range(1, 9))
    assert fitted.history.epochs[-1].train_loss < fitted.history.epochs[0].train_loss
    assert [one.alpha for one in fitted.chosen.tried] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert fitted.images_per_s > 0
    changed = {name for name, tensor in run.weights.items() if not torch.equal(tensor, run.before[name])}
    assert fitted.chosen.alpha > 0
    assert {name.split(".")[0] for name in changed} == {"blocks", "bn2", "conv_head", "classifier"}
    assert not any(name.startswith(("blocks.0", "blocks.1")) for name in changed)
    assert not any("running" in name for name in changed), "batch normalisation keeps its statistics"
    learning = {name for name, tensor in run.network.module.named_parameters() if tensor.requires_grad}
    assert learning >= {name for name in changed if "num_batches" not in name}
    assert not any(name.startswith(("conv_stem", "bn1", "blocks.0", "blocks.1")) for name in learning)


def test_activations_give_the_answers_of_the_image_files(undisturbed, start, tmp_path):
    _, fitted = undisturbed
    run = start(tmp_path / "run")
    dataset = run.setup.dataset
    trained, held_back = hold_back(dataset.train, dataset.labels, run.config.seed)
    run.put(run.fit_head(trained))
    files = [dataset.train[index] for index in held_back]
    logits = predict(run.network.module, files, run.setup.preprocessor)
    head_alone = fitted.chosen.tried[0].logits
    np.testing.assert_allclose(softmax(head_alone, axis=1), softmax(logits, axis=1), atol=0.01)


def test_the_same_seed_gives_the_same_bits_and_another_others(undisturbed, start, tmp_path):
    run, _ = undisturbed
    again, other = start(tmp_path / "again"), start(tmp_path / "other", seed=1)
    again.train()
    other.train()
    assert_same_weights(run.weights, again.weights)
    assert not torch.equal(run.network.head.weight, other.network.head.weight)


def test_without_the_cache_the_weights_are_the_same(undisturbed, start, tmp_path):
    run, _ = undisturbed
    streamed = start(tmp_path / "streamed", no_cache=True)
    notes = Notes()
    streamed.train(notes)
    assert_same_weights(run.weights, streamed.weights)
    assert "Cache off: recomputing activations every epoch" in notes.lines


class Stop(Exception):  # noqa: N818 - not an error of the program
    pass


class StopIn(Progress):
    """Leaves the training by an exception in the middle of an epoch, the trial's included."""

    def __init__(self, epoch):
        self._left = epoch

    def steps(self, items, description, total):
        self._left -= "poch " in description
        for place, item in enumerate(items):
            if self._left == 0 and place == total // 2:
                raise Stop
            yield item


@pytest.mark.parametrize("epoch", [2, 9, 13])
def test_an_interrupted_run_ends_with_the_same_weights(undisturbed, start, tmp_path, epoch):
    run, fitted = undisturbed
    interrupted = start(tmp_path / "run")
    with pytest.raises(Stop):
        interrupted.train(StopIn(epoch))
    assert 1 <= len(list((tmp_path / "run" / FOLDER).iterdir())) <= 2
    resumed, notes = start(tmp_path / "run"), Notes()
    again = resumed.train(notes)
    assert f"Continuing after epoch {(epoch - 1) if epoch < 10 else epoch - 9}" in notes.lines
    assert_same_weights(run.weights, resumed.weights)
    assert again.chosen.alpha == fitted.chosen.alpha
    assert [one.log_loss for one in again.chosen.tried] == [one.log_loss for one in fitted.chosen.tried]
    assert [row.train_loss for row in again.history.epochs] == [row.train_loss for row in fitted.history.epochs]


def test_a_training_that_only_harms_leaves_the_head_alone(start, tmp_path):
    run = start(tmp_path / "run", lr=0.3, epochs=1)
    notes = Notes()
    assert run.train(notes).chosen.alpha == 0.0
    assert_same_weights(run.weights, run.before)  # the head of all training images included
    assert "keeping the head alone" in notes.lines[-1]


def test_no_time_for_an_epoch_leaves_the_head_alone(start, tmp_path):
    run = start(tmp_path / "run", epochs=0)
    fitted = run.train(limit_s=1e-6)
    assert (fitted.chosen.alpha, fitted.history.epochs, fitted.images_per_s) == (0.0, [], 0.0)
    assert_same_weights(run.weights, run.before)
    assert len(run.train(limit_s=3600).history.epochs) == 8


def test_where_to_cut_can_be_chosen(start, tmp_path):
    run = start(tmp_path / "run", freeze_until="blocks.3", epochs=1)
    assert run.train().cut.name == "blocks.3"
    with pytest.raises(
        ConfigError, match=r"freeze_until: found 'blocks.9', expected a stage of timm:test_efficientnet: "
    ):
        start(tmp_path / "run", freeze_until="blocks.9")  # told before anything is computed


def test_images_are_mirrored_only_where_the_head_cannot_tell(start, tmp_path):
    """Arrows to the left and to the right."""
    from PIL import Image, ImageDraw

    for index in range(40):
        image = Image.new("RGB", (64, 64), (index, 0, 2 * index))
        ImageDraw.Draw(image).polygon([(10, 32), (50, 10 + index % 5), (50, 54)], fill="white")
        label = ("left", "right")[index % 2]
        (tmp_path / "arrows" / label).mkdir(parents=True, exist_ok=True)
        flip = Image.Transpose.FLIP_LEFT_RIGHT
        (image.transpose(flip) if index % 2 else image).save(tmp_path / "arrows" / label / f"{index}.png")
    notes = Notes()
    run = start(tmp_path / "run", tmp_path / "arrows", epochs=1)
    run.train(notes)
    assert any(line.startswith("Images are not mirrored: the head misclassifies mirrored ones") for line in notes.lines)


def test_held_back_images_are_of_every_class_and_bounded(start, tmp_path):
    dataset = start(tmp_path / "run").setup.dataset
    trained, held_back = hold_back(dataset.train, dataset.labels, seed=3)
    assert sorted([*trained, *held_back]) == list(range(len(dataset.train)))
    assert np.bincount([dataset.train[index].label for index in held_back]).tolist() == [8, 8, 8]
    many = [dataclasses.replace(dataset.train[n % 3 * 54], name=str(n)) for n in range(9000)]
    assert len(hold_back(many, dataset.labels, seed=3)[1]) == 300
    with pytest.raises(DataError, match=r"class 'circle': 1 .* left to split"):
        hold_back(dataset.train[:1], dataset.labels[:1], seed=3)


@pytest.mark.parametrize("weights", [None, [1.0, 5.0, 0.5]])
def test_a_step_in_chunks_is_the_step_of_the_batch(weights):
    torch.manual_seed(0)
    module = nn.Linear(6, 3)
    whole = copy.deepcopy(module)
    weights = None if weights is None else torch.tensor(weights)
    values, labels = torch.randn(75, 6), torch.arange(75) % 3
    fabric = Fabric(accelerator="cpu", devices=1)
    step = Step(fabric, *fabric.setup(module, torch.optim.SGD(module.parameters(), lr=1.0)), None, weights)
    loss, correct = _take_step(step, values, labels, smoothing=0.1)
    logits = whole(values)
    expected = functional.cross_entropy(logits, labels, weights, label_smoothing=0.1)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert correct == int((logits.argmax(dim=1) == labels).sum())
    torch.testing.assert_close(module.weight, whole.weight - whole.weight.grad)
