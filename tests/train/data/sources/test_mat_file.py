import io
import os

import numpy as np
import pytest
import scipy.io

from support.loading import load_with
from tl_train.config import TrainConfig
from tl_train.data.sources.mat_file import MatLayout, MatLimits, read_mat
from tl_train.errors import ConfigError, DataError


def columns(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (12, count), dtype=np.uint8)


@pytest.fixture
def mat(tmp_path):
    path = tmp_path / "pets.mat"
    scipy.io.savemat(
        path,
        {
            "dog": columns(5),
            "cat": columns(7, 1),
            "note": "x",
            "wide": np.zeros((2, 2, 2), np.uint8),
            "real": np.eye(3),
        },
    )
    return path


def load(path, **fields):
    return load_with(TrainConfig.of(str(path), **fields))


@pytest.mark.parametrize("style", [{"format": "4"}, {"format": "5"}, {"format": "5", "do_compression": True}])
def test_the_values_come_back_as_they_were_saved(tmp_path, style):
    saved = {"cat": columns(3), "dog": np.asfortranarray(columns(2, 1))}
    scipy.io.savemat(tmp_path / "a.mat", saved, **style)
    dog, cat = read_mat(tmp_path / "a.mat", ["dog", "cat"])
    np.testing.assert_array_equal(dog, saved["dog"])
    np.testing.assert_array_equal(cat, saved["cat"])


def test_a_data_set_from_two_variables(mat):
    dataset = load(mat, mat_keys="dog,cat", mat_shape="3x4", val_split=0)
    assert dataset.labels == ("dog", "cat")
    assert (len(dataset.train), len(dataset.test)) == (10, 2)
    sample = next(sample for sample in dataset.train if sample.label == 0)
    column = columns(5)[:, int(sample.name.removeprefix("dog-"))]
    np.testing.assert_array_equal(sample.load()[..., 1], column.reshape(4, 3).T)
    rows = load(mat, mat_keys="dog,cat", mat_shape="3x4", mat_order="row", val_split=0)
    np.testing.assert_array_equal(rows.train[0].load()[..., 1], column.reshape(3, 4))


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"mat_keys": "dog,cow"}, DataError, r"no variable 'cow'; the file holds dog \(12x5 uint8\), cat .*--mat-keys"),
        ({"mat_keys": "dog,note"}, DataError, "variable 'note' is char with 1 dimensions, expected uint8 with 2"),
        ({"mat_keys": "dog,wide"}, DataError, "variable 'wide' is uint8 with 3 dimensions"),
        ({"mat_keys": "dog,real"}, DataError, "variable 'real' is float64 with 2 dimensions"),
        ({"mat_keys": "dog"}, ConfigError, r"mat_keys: found one class only \('dog'\)"),
        ({"mat_keys": ""}, ConfigError, "mat_keys: found '', expected different names of variables"),
        ({"mat_keys": "dog,dog"}, ConfigError, "mat_keys: found 'dog,dog', expected different"),
        ({"mat_keys": "dog,../cat"}, ConfigError, r"mat_keys: found 'dog,../cat'"),
        ({"mat_keys": "dog,cat", "mat_shape": "4"}, ConfigError, "mat_shape: found '4', expected HEIGHTxWIDTH"),
        ({"mat_keys": "dog,cat", "mat_shape": "4x4"}, DataError, r"'dog' is 12x5, expected 16 rows \(4x4 pixels\)"),
        ({"mat_keys": "dog,cat", "mat_shape": "1x5"}, DataError, "seem to be the images: transpose it"),
    ],
)
def test_what_does_not_fit_is_explained(mat, fields, error, message):
    with pytest.raises(error, match=message):
        load(mat, **{"mat_shape": "3x4", **fields})


def test_options_for_mat_files_are_refused_elsewhere(shapes):
    with pytest.raises(ConfigError, match=r"only for .mat files, found data digits; leave them out"):
        load("digits", mat_keys="a,b")
    with pytest.raises(ConfigError, match="mat_order: found diagonal, expected column or row"):
        MatLayout(("a", "b"), 3, 4, "diagonal")


def crafted(type_code: bytes) -> bytes:
    """A file whose values are of a type that does not exist; scipy 1.17 looks it up beyond the end of its table."""
    file = io.BytesIO()
    scipy.io.savemat(file, {"cat": np.arange(32, dtype=np.uint8).reshape(16, 2)}, format="5")
    content = bytearray(file.getvalue())
    assert content[176:180] == b"\x02\0\0\0"  # miUINT8
    content[176:180] = type_code
    return bytes(content)


@pytest.mark.parametrize("type_code", [b"\x91\0\0\0", b"\x00\x00\x00\x70"])
def test_a_file_that_crashes_the_reader_is_one_error(tmp_path, type_code):
    (tmp_path / "a.mat").write_bytes(crafted(type_code))
    with pytest.raises(DataError, match=r"a.mat: (damaged or crafted: .*killed by SIG(SEGV|BUS)|cannot be read as)"):
        read_mat(tmp_path / "a.mat", ["cat"])


@pytest.mark.parametrize("keep", [0, 1, 60, 127, 140, 190])
def test_a_truncated_file_is_one_error(tmp_path, mat, keep):
    (tmp_path / "a.mat").write_bytes(mat.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a.mat: (cannot be read as a .mat file|no variable 'dog'|damaged)"):
        read_mat(tmp_path / "a.mat", ["dog"])


def test_garbage_and_other_formats_are_one_error(tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(DataError, match=r"a.mat: (cannot be read as a .mat file|damaged|needs more)"):
        read_mat(path, ["dog"])
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" + bytes(600))
    with pytest.raises(DataError, match=r"a.mat: in the format of MATLAB 7.3 \(HDF5\); save it again with '-v7'"):
        read_mat(path, ["dog"])


def test_the_limits_hold(tmp_path, mat):
    bomb = tmp_path / "bomb.mat"  # 0.4 MB that become 400 MB
    scipy.io.savemat(bomb, {"cat": np.zeros((20_000, 20_000), np.uint8)}, do_compression=True)
    assert bomb.stat().st_size < 1_000_000
    with pytest.raises(DataError, match=r"bomb.mat: needs more than 700000000 bytes of memory"):
        read_mat(bomb, ["cat"], MatLimits(memory_bytes=700_000_000))
    with pytest.raises(DataError, match=r"pets.mat: not read after 0.01 s, given up"):
        read_mat(mat, ["dog"], MatLimits(timeout_s=0.01))
    with pytest.raises(DataError, match=r"pets.mat: cannot be read: \d+ bytes, the limit is 100; use a folder"):
        read_mat(mat, ["dog"], MatLimits(max_file_bytes=100))


def test_what_is_no_file_is_one_error(tmp_path):
    os.mkfifo(tmp_path / "fifo.mat")
    with pytest.raises(DataError, match=r"fifo.mat: cannot be read: not a regular file; expected a .mat"):
        read_mat(tmp_path / "fifo.mat", ["dog"])
    with pytest.raises(DataError, match=r"none.mat: cannot be read: No such file"):
        read_mat(tmp_path / "none.mat", ["dog"])
