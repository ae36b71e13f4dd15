"""tl_train.familiarity.unknowns: always the same images, of every kind."""

import numpy as np
import pytest

from tl_infer import InputPathError
from tl_train.errors import ConfigError
from tl_train.familiarity.unknowns import built_in_unknowns, unknown_files


def test_every_kind_and_always_the_same():
    first, second = (built_in_unknowns(5, ("dog", "cat")) for _ in range(2))
    assert list(first) == ["noise", "blank", "text", "digits"]
    for name, images in first.items():
        assert len(images) == 5
        for one, again in zip(images, second[name], strict=True):
            assert one.dtype == np.uint8
            assert one.shape[2] == 3
            np.testing.assert_array_equal(one, again)
    assert first["blank"][0].std(axis=(0, 1)).max() < 4 < first["text"][0].std() < first["noise"][0].std()


def test_digits_are_not_unknown_to_a_model_of_digits():
    assert "digits" not in built_in_unknowns(1, ("0", "1"))


def test_a_folder_of_the_users(tmp_path):
    assert unknown_files("") == []
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert unknown_files(str(tmp_path)) == [tmp_path / "a.jpg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputPathError, match="empty: the folder has no files"):
        unknown_files(str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match=r"unknown: found .*absent, expected a folder of images that show none of"):
        unknown_files(str(tmp_path / "absent"))
