import numpy as np
import pytest
import torch

from support.loading import Notes
from tl_train.models.architectures import find_architecture
from tl_train.models.network import build_network
from tl_train.models.onnx_network import Backbone, FrozenNetwork, open_onnx
from tl_train.models.stages import Stages

SIZE = (48, 64)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network(find_architecture("timm:test_efficientnet"), "none", 3)


@pytest.fixture(scope="module")
def trunk(network):
    stages = Stages(network.module, SIZE, "test_efficientnet")
    return FrozenNetwork(stages.split(stages.choose())[0], "test_efficientnet until blocks.1", SIZE)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TL_CACHE_DIR", str(folder))
        yield folder / "networks"


def images(count=3):
    return np.random.default_rng(0).standard_normal((count, 3, *SIZE), dtype=np.float32)


def test_the_trunk_says_what_torch_says_on_any_thread(trunk, cache):
    opened = open_onnx(trunk, Notes())
    with torch.inference_mode():
        expected = trunk.module.eval()(torch.from_numpy(images(9))).numpy()
    assert opened.shape == expected.shape[1:]
    assert opened.values == expected[0].size
    found = list(opened.map(lambda image: [image, image[:, :, ::-1].copy()], images(9)))
    np.testing.assert_allclose([plain for plain, _ in found], expected, atol=1e-4)
    assert all(not np.allclose(plain, mirrored) for plain, mirrored in found)


def test_the_backbone_says_what_the_head_sees_whatever_head_that_is(network, cache):
    opened = open_onnx(FrozenNetwork(Backbone(network), "test_efficientnet", SIZE), Notes())
    head = network.head
    with torch.inference_mode():
        logits = network.module.eval()(torch.from_numpy(images())).numpy()
        found = head(torch.from_numpy(np.stack([opened(image) for image in images()]))).numpy()
        np.testing.assert_allclose(found, logits, atol=1e-5)
        head.weight.add_(1.0)
    assert FrozenNetwork(Backbone(network), "test_efficientnet", SIZE).key() == opened.key


def test_the_key_is_that_of_weights_name_and_size(network, trunk):
    other = build_network(network.architecture, "none", 3)
    stages = Stages(other.module, SIZE, "test_efficientnet")
    others = [
        FrozenNetwork(trunk.module, "another", SIZE),
        FrozenNetwork(trunk.module, trunk.name, (64, 48)),
        FrozenNetwork(stages.split(stages.choose())[0], trunk.name, SIZE),
    ]
    assert len({frozen.key() for frozen in (trunk, *others)}) == 4


def test_the_second_run_exports_nothing_unless_the_file_is_damaged(trunk, cache):
    open_onnx(trunk, Notes())
    again = Notes()
    expected = open_onnx(trunk, again)(images()[0])
    assert not again.lines
    (file,) = cache.glob(f"{trunk.key()}-*.onnx")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    after = Notes()
    np.testing.assert_array_equal(open_onnx(trunk, after)(images()[0]), expected)
    assert "damaged (its checksum is wrong); it is made again" in after.lines[0]
    assert "Exporting test_efficientnet until blocks.1 to ONNX" in after.lines[1]


def test_without_a_cache_folder_it_is_exported_for_this_run(trunk, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path / "file"))
    notes = Notes()
    assert open_onnx(trunk, notes)(images()[0]).shape == (24, 12, 16)
    assert any("the next run exports the network again" in line for line in notes.lines)


def test_where_the_cache_cannot_take_it_it_is_exported_once(trunk, tmp_path, monkeypatch):
    """The name of the file is not free: it is known before, but for its checksum."""
    exported = Notes()
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path))
    open_onnx(trunk, exported)
    (file,) = (tmp_path / "networks").glob("*.onnx")
    file.unlink()
    file.mkdir()
    (file / "theirs").touch()
    notes = Notes()
    assert open_onnx(trunk, notes)(images()[0]).shape == (24, 12, 16)
    assert sum("Exporting test_efficientnet" in line for line in notes.lines) == 1
    assert "the next run exports the network again" in notes.lines[-1]


def test_tracing_leaves_the_network_as_it_was(trunk, cache):
    weight = next(tensor for tensor in trunk.module.parameters() if tensor.ndim == 4 and tensor.shape[2] > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last)
