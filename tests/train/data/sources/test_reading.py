import pytest

from support.loading import load
from tl_train.errors import ConfigError, DataError


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "list.txt").write_text("path,label\n")
    with pytest.raises(DataError, match=r"list.txt: a file; expected a folder .* a .csv or .mat file"):
        load(tmp_path / "list.txt")


@pytest.mark.parametrize("option", ["csv_columns", "images_root", "mat_keys", "mat_shape"])
def test_options_of_another_kind_of_data_are_refused(shapes, option):
    with pytest.raises(ConfigError, match=rf"{option}.*: only for .(csv|mat) files, found data .*shapes"):
        load(shapes, **{option: "x"})
