import base64
import io
import json

import numpy as np
import onnx
import pytest
from PIL import Image

from support.loading import train_on_shapes
from tl_export import export
from tl_export.proof.faults import FAULTS, with_swapped_channels, without_antialias
from tl_export.proof.golden import golden_samples
from tl_export.proof.golden_pictures import LONGEST_SIDE_PX, sample_pictures
from tl_export.proof.routes import TorchRoute
from tl_export.proof.trained import Trained
from tl_infer import Classifier
from tl_infer.images import load_image
from tl_infer.model.contract import PreprocessSpec
from tl_infer.model.golden import GoldenSet
from tl_train.run_folder.folder import RunFolder

SPEC = PreprocessSpec(size=(96, 64), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
CROP = PreprocessSpec(size=(96, 64), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), fit="crop", resize_px=100)


@pytest.fixture(scope="module")
def trained_run(shapes, tmp_path_factory):
    return train_on_shapes(shapes, tmp_path_factory.mktemp("trained"), size=64)


@pytest.fixture(scope="module")
def trained_model(trained_run):
    return export(trained_run, trained_run / "model.onnx")


def metadata(path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def golden_differences(file: bytes, golden: GoldenSet) -> list[tuple[str, float]]:
    """Name and largest probability difference of each sample."""
    classifier, found = Classifier(file), []
    for sample in golden.samples:
        scores = {score.label: score.probability for score in classifier.classify(sample.png, top_k=None).top}
        gaps = [abs(scores[label] - p) for label, p in zip(classifier.labels, sample.probabilities, strict=True)]
        found.append((sample.name, max(gaps)))
    return found


def photo(width, height, seed=0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height)))


@pytest.mark.parametrize("spec", [SPEC, CROP], ids=["squash", "crop"])
@pytest.mark.parametrize(
    "sources",
    [
        [photo(300, 200), photo(200, 300, 1), photo(250, 250, 2), photo(100, 90, 3)],
        [photo(8, 8)] * 2,
        [photo(1, 1)],
        [photo(2000, 3)],
        [np.full((64, 64, 3), 7, np.uint8)],
    ],
    ids=["photos", "tiny", "one pixel", "long", "flat"],
)
def test_the_samples_cover_shapes_and_colours(sources, spec):
    pictures = dict(sample_pictures(sources, spec))
    assert list(pictures) == ["landscape", "portrait", "square", "grey", "mixed channels", "fine pattern"]
    images = {name: Image.open(io.BytesIO(png)) for name, png in pictures.items()}
    assert images["grey"].mode == "L"
    if min(sources[0].shape[:2]) >= 8:
        assert images["landscape"].width > images["landscape"].height
        assert images["portrait"].width < images["portrait"].height
    mixed = np.asarray(images["mixed channels"]).astype(int)
    assert np.abs(mixed[..., 0] - mixed[..., 2]).max() > 0
    for name, image in images.items():
        if name != "fine pattern":
            assert max(image.size) <= LONGEST_SIDE_PX
        assert len(pictures[name]) < 60_000
    smallest = spec.resize_px or max(spec.size)
    assert max(images["fine pattern"].size) == 3 * smallest
    assert pictures == dict(sample_pictures(sources, spec))


def test_the_samples_in_the_file_are_pictures_with_answers(trained_model):
    document = json.loads(metadata(trained_model.path)["tl.golden"])
    golden = GoldenSet.from_json(json.dumps(document), 3)
    assert 4 <= len(golden.samples) <= 8
    for sample, plain in zip(golden.samples, document["samples"], strict=True):
        pixels = load_image(base64.b64decode(plain["png"]))
        assert pixels.shape[2] == 3
        assert sum(sample.probabilities) == pytest.approx(1, abs=1e-5)
    differences = golden_differences(trained_model.path.read_bytes(), golden)
    assert max(gap for _, gap in differences) < 1e-6


@pytest.mark.parametrize("spoil", FAULTS.values(), ids=FAULTS)
def test_a_spoiled_runtime_is_seen(trained_model, spoil):
    """Measured: what the faults do is far above the tolerance, what harmless changes do is far below."""
    golden = trained_model.golden
    assert golden.missed() == []
    assert min(golden.faults.values()) > 3 * golden.samples.tolerance
    assert 10 * max(golden.harmless.values()) <= golden.samples.tolerance <= 0.01
    spoiled = spoil(onnx.load(trained_model.path)).SerializeToString()
    assert max(gap for _, gap in golden_differences(spoiled, golden.samples)) > golden.samples.tolerance


def test_only_the_fine_pattern_shows_a_missing_antialias(trained_model):
    spoiled = without_antialias(onnx.load(trained_model.path)).SerializeToString()
    gaps = dict(golden_differences(spoiled, trained_model.golden.samples))
    tolerance = trained_model.golden.samples.tolerance
    assert [name for name, gap in gaps.items() if gap > tolerance] == ["fine pattern"]


def test_gray_models_and_a_network_that_says_the_same_of_everything(traced, tiny_run, assembled):
    model, spec, architecture = RunFolder(tiny_run).load_model()
    for parameter in model.get_submodule(architecture.head).parameters():
        parameter.data.zero_()
    file = assembled()
    for tensor in file.graph.initializer:
        if tensor.name.startswith("classifier."):
            zeros = np.zeros_like(onnx.numpy_helper.to_array(tensor))
            tensor.CopyFrom(onnx.numpy_helper.from_array(zeros, tensor.name))
    trained = Trained(RunFolder(tiny_run), TorchRoute(model, spec, architecture), RunFolder(tiny_run).held_out_files())
    golden = golden_samples(file.SerializeToString(), trained)
    assert golden.missed() == list(FAULTS)
    assert golden.samples.tolerance == 5e-4
    assert golden.document()["missed"] == list(FAULTS)


def test_the_faults_change_copies_only(assembled):
    model = assembled()
    before = model.SerializeToString()
    for spoil in (with_swapped_channels, without_antialias):
        assert spoil(model).SerializeToString() != before
        assert model.SerializeToString() == before
