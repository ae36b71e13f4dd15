import itertools
import os
import threading

import numpy as np
import pytest
import torch
from torch import nn

from support.loading import Notes
from support.pictures import draw_shape
from tl_infer.errors import ImageError
from tl_infer.model.contract import PreprocessSpec
from tl_train.data.samples import Sample
from tl_train.errors import TrainingError
from tl_train.models.onnx_network import FrozenNetwork, open_onnx
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress
from tl_train.training.partial.activation_file import (
    ActivationFile,
    ActivationWriter,
    DamagedFileError,
    file_bytes,
    to_half,
)
from tl_train.training.partial.activation_store import ActivationCache, keep_activations
from tl_train.training.partial.activations import FrozenStages, StoredActivations, StreamedActivations

SHAPE = (2, 3, 5)
SIZE = (16, 16)


def rows_of(count):
    return np.random.default_rng(1).standard_normal((count, *SHAPE)).astype(np.float16)


def write(path, rows):
    with path.open("wb") as file:
        writer = ActivationWriter(file, len(rows), SHAPE)
        for index, row in enumerate(rows):
            writer.add(index.to_bytes(16, "big"), row)
        writer.finish()
    return path


def test_a_file_gives_back_its_rows_in_any_order(tmp_path):
    rows = rows_of(7)
    path = write(tmp_path / "a.npy", rows)
    assert path.stat().st_size == file_bytes(7, SHAPE)
    file = ActivationFile(path)
    file.check_rows(Progress())
    assert file.shape == SHAPE
    assert [int.from_bytes(digest, "big") for digest in file.digests] == list(range(7))
    np.testing.assert_array_equal(file.rows([5, 0, 5]), rows[[5, 0, 5]])
    np.testing.assert_array_equal(file.checked_row(3), rows[3])
    file.close()
    np.testing.assert_array_equal(np.load(path), rows)  # numpy reads it, too


def check(path):
    file = ActivationFile(path)
    try:
        file.check_rows(Progress())
    finally:
        file.close()


def test_any_cut_and_any_altered_byte_is_found(tmp_path):
    data = write(tmp_path / "a.npy", rows_of(3)).read_bytes()
    damaged = tmp_path / "damaged.npy"
    for length in range(0, len(data), 7):
        damaged.write_bytes(data[:length])
        with pytest.raises(DamagedFileError, match=r"damaged\.npy: "):
            check(damaged)
    damaged.write_bytes(data + b"\0")
    with pytest.raises(DamagedFileError, match="truncated or corrupted"):
        check(damaged)
    for place in range(len(data)):
        altered = bytearray(data)
        altered[place] ^= 4
        damaged.write_bytes(altered)
        with pytest.raises(DamagedFileError, match=r"damaged\.npy: "):
            check(damaged)


def test_what_float16_cannot_hold_is_refused():
    np.testing.assert_array_equal(to_half(np.array([65504.0, -1.0], np.float32)), [65504, -1])
    for value in (70_000.0, np.nan, np.inf):
        with pytest.raises(TrainingError, match=r"too large for float16; .*--freeze-until"):
            to_half(np.array([1.0, value], np.float32))


@pytest.fixture(scope="module")
def trunk():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 2, 3, 4), nn.ReLU())
    return open_onnx(FrozenNetwork(module, "two layers", SIZE), Progress())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path))
    return tmp_path / "activations"


@pytest.fixture(scope="module")
def samples():
    return [Sample(str(n), 0, pixels=np.asarray(draw_shape("circle", n))) for n in range(12)]


def stages_of(trunk, samples):
    spec = PreprocessSpec(size=SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    digests = [int(sample.name).to_bytes(16, "big") for sample in samples]
    return FrozenStages(trunk=trunk, preprocessor=Preprocessor(spec), samples=samples, digests=digests)


def known(sample):
    """The same image to the cache; it cannot be loaded."""
    return Sample(sample.name, 0)


DRAWS = [[(0, False), (3, True), (3, False)], [(2, True)], [(1, False), (0, True)]]


def kept(stages, notes=None, **options):
    """Batches of the activations, and where they come from."""
    activations = keep_activations(stages, ActivationCache(**options), notes or Notes())
    try:
        assert activations.shape == stages.trunk.shape
        return list(activations.batches(DRAWS)), type(activations)
    finally:
        activations.close()


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)


def test_kept_and_streamed_are_the_same_numbers(trunk, samples, cache):
    stages = stages_of(trunk, samples[:4])
    (stored, kind), (streamed, other) = kept(stages), kept(stages, keep=False)
    assert (kind, other) == (StoredActivations, StreamedActivations)
    assert_same(stored, streamed)
    pixels = samples[3].load()
    expected = [trunk(stages.preprocessor(np.ascontiguousarray(image))) for image in (pixels[:, ::-1], pixels)]
    np.testing.assert_allclose(stored[0][1:], expected, rtol=1e-3, atol=1e-4)


def test_a_second_run_loads_no_image(trunk, samples, cache):
    first, _ = kept(stages_of(trunk, samples[:4]))
    again, kind = kept(stages_of(trunk, [known(sample) for sample in samples[:4]]))
    assert kind is StoredActivations
    assert_same(first, again)


def test_another_set_takes_over_what_is_there(trunk, samples, cache):
    kept(stages_of(trunk, samples[:4]))
    kept(stages_of(trunk, samples[6:10]))
    mixed = [known(samples[2]), samples[11], known(samples[8]), samples[5], known(samples[0])]
    found, _ = kept(stages_of(trunk, mixed))
    expected, _ = kept(stages_of(trunk, [samples[n] for n in (2, 11, 8, 5, 0)]), keep=False)
    assert_same(found, expected)


def test_mirrored_images_are_only_kept_where_they_are_wanted(trunk, samples, cache):
    stages = stages_of(trunk, samples[:4])
    keep_activations(stages, ActivationCache(mirrored=False), Notes()).close()
    (plain,) = cache.iterdir()
    notes = Notes()
    kept(stages, notes)
    assert len(list(cache.iterdir())) == 2
    assert plain.exists()


def test_a_damaged_file_is_computed_again(trunk, samples, cache):
    stages = stages_of(trunk, samples[:4])
    first, _ = kept(stages)
    for path in cache.iterdir():
        with path.open("r+b") as file:
            file.seek(200)
            file.write(b"damaged")
    notes = Notes()
    again, _ = kept(stages, notes)
    assert_same(first, again)
    assert [line.endswith("corrupted; recomputing") for line in notes.lines] == [True, True, False]
    os.truncate(next(cache.iterdir()), 300)
    notes = Notes()
    again, _ = kept(stages, notes)
    assert_same(first, again)
    assert notes.lines[0].endswith(("truncated; recomputing", "corrupted; recomputing"))


def test_beyond_the_limit_they_are_streamed(trunk, samples, cache):
    notes = Notes()
    _, kind = kept(stages_of(trunk, samples[:4]), notes, limit_bytes=1000)
    assert kind is StreamedActivations
    assert "Cache too small (0 MB needed, limit 0 MB): recomputing activations every epoch" in notes.lines[0]
    assert not cache.exists()


def test_older_sets_make_room(trunk, samples, cache):
    needed = 2 * file_bytes(4, trunk.shape)
    for start in (0, 4, 8):
        _, kind = kept(stages_of(trunk, samples[start : start + 4]), limit_bytes=needed + 100)
        assert kind is StoredActivations
        assert sum(path.stat().st_size for path in cache.iterdir()) == needed


def test_an_image_that_is_gone_leaves_nothing_half_written(trunk, samples, cache, tmp_path):
    gone = Sample("3", 0, path=tmp_path / "gone.png")
    with pytest.raises(ImageError, match=r"gone.png"):
        kept(stages_of(trunk, [*samples[:3], gone]))
    assert list(cache.iterdir()) == []


def test_runs_at_the_same_time_are_all_right(trunk, samples, cache):
    expected, _ = kept(stages_of(trunk, samples), keep=False)
    found = []

    def run():
        found.append(kept(stages_of(trunk, samples))[0])

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for batches in found:
        assert_same(batches, expected)
    assert len(list(cache.iterdir())) == 2


def test_the_key_depends_on_preprocessing_and_mirroring(trunk, samples):
    stages = stages_of(trunk, samples[:2])
    other = FrozenStages(
        trunk=trunk,
        preprocessor=Preprocessor(PreprocessSpec(size=SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.4))),
        samples=samples[:2],
        digests=stages.digests,
    )
    keys = [one.key(mirrored) for one, mirrored in itertools.product((stages, other), (False, True))]
    assert len(set(keys)) == 4
