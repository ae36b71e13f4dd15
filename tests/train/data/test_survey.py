"""tl_train.data.survey: each image is decoded once, whatever is wanted of it, and never again once it is known."""

import numpy as np
import pytest

from tl_train.data.samples import Sample
from tl_train.data.survey import survey
from tl_train.progress import Progress


class Mean:
    """The mean of each channel, and how often it was asked for."""

    space = "mean of each channel"
    dtype = np.dtype(np.float32)

    def __init__(self):
        self.calls = 0

    def __call__(self, pixels):
        self.calls += 1
        return pixels.reshape(-1, 3).mean(axis=0, dtype=np.float32)


@pytest.fixture
def samples(shapes):
    return [Sample(str(path), 0, path=path) for path in sorted(shapes.rglob("*.png"))]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path / "cache"))


def test_values_stand_in_the_rows_of_their_samples(samples):
    found = survey(samples, [Mean()], Progress())
    assert [sample.name for sample in found.samples] == [sample.name for sample in samples]
    for sample in found.samples:
        expected = sample.load().reshape(-1, 3).mean(axis=0)
        np.testing.assert_allclose(found.values[0][sample.row], expected, rtol=1e-5)
    assert found.computed == len(samples)


def test_a_second_pass_decodes_nothing_and_finds_the_same(samples):
    first, mean = survey(samples, [Mean()], Progress()), Mean()
    second = survey(samples, [mean], Progress())
    assert (second.computed, mean.calls) == (0, 0)
    np.testing.assert_array_equal(second.values[0], first.values[0])
    assert survey(samples, [mean], Progress(), use_cache=False).computed == len(samples)


def test_an_image_that_changed_is_computed_again(samples, tmp_path):
    copy = tmp_path / "copy.png"
    copy.write_bytes(samples[0].path.read_bytes())
    changing = [Sample("copy", 0, path=copy)]
    before = survey(changing, [Mean()], Progress()).values[0]
    copy.write_bytes(samples[1].path.read_bytes())
    assert not np.array_equal(survey(changing, [Mean()], Progress()).values[0], before)


def test_a_broken_image_has_no_row_and_shifts_no_other(samples, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    mixed = [samples[0], Sample("bad", 0, path=tmp_path / "bad.png"), samples[1]]
    found = survey(mixed, [Mean()], Progress())
    assert [sample.name for sample in found.samples] == [samples[0].name, samples[1].name]
    assert [sample.row for sample in found.samples] == [0, 1]
    (error,) = found.broken
    assert "bad.png" in str(error)
