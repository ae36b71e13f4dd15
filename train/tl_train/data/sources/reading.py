"""`read_source(config)`: the images that a configuration names, wherever they come from."""

import dataclasses
import stat
from pathlib import Path

from tl_infer.errors import first_line
from tl_train.config import TrainConfig
from tl_train.config.data import DataConfig
from tl_train.data.samples import Source
from tl_train.data.sources.built_in import cats_dogs, digits
from tl_train.data.sources.csv_list import read_csv
from tl_train.data.sources.fixes import read_fixes
from tl_train.data.sources.folders import read_folder
from tl_train.data.sources.mat_file import MatLayout
from tl_train.data.sources.mat_images import read_mat_images
from tl_train.data.sources.multi_label_csv import read_multi_label_csv
from tl_train.data.sources.multi_label_folders import with_all_labels
from tl_train.errors import ConfigError, DataError
from tl_train.progress import Progress

BUILT_IN = ("cats-dogs", "digits")
_EXPECTED = f"a folder with one sub-folder per class, a .csv or .mat file, or {' or '.join(BUILT_IN)}"
_OF_KIND = {"mat": ("mat_keys", "mat_shape", "mat_order"), "csv": ("csv_columns", "images_root")}
_KINDS = {".mat": "mat", ".csv": "csv", ".tsv": "csv"}


def read_source(config: TrainConfig, progress: Progress) -> Source:
    """The images that `config.data.source` names; files are found, not decoded yet.

    Raises:
        ConfigError: options for `.mat` or CSV files are missing, or given for something else.
        DataError: no such data, no classes, an empty class, a list or file that cannot be understood, corrections that
            do not fit the images.
        DownloadError: a built-in set could not be fetched.

    """
    data = config.data
    path = Path(data.source)
    kind = _kind(path, data.source)
    _check_options(data, kind)
    read = _read_several if data.multi_label else _read
    source = read(path, kind, data, progress).limited(data.limits)
    return dataclasses.replace(source, fixes=read_fixes(Path(data.fix), source)) if data.fix else source


def _read(path: Path, kind: str, data: DataConfig, progress: Progress) -> Source:
    match kind:
        case "cats-dogs":
            return cats_dogs(progress)
        case "digits":
            return digits()
        case "folder":
            return read_folder(path, data.parts, progress)
        case "csv":
            return read_csv(path, data, progress)
        case "mat":
            return read_mat_images(path, MatLayout.parse(data.mat_keys, data.mat_shape, data.mat_order))
    raise DataError(f"{path}: a file; expected {_EXPECTED}")


def _read_several(path: Path, kind: str, data: DataConfig, progress: Progress) -> Source:
    """Images that may have several labels; limits count from the first reading on."""
    match kind:
        case "folder":
            return with_all_labels(read_folder(path, data.parts, progress).limited(data.limits), progress)
        case "csv":
            return read_multi_label_csv(path, data, progress)
    raise DataError(f"{data.source}: its images have one label each; multi_label needs a folder or a .csv file")


def _kind(path: Path, given: str) -> str:
    """`folder`, `csv`, `mat`, the name of a built-in set, or `file` for any other.

    Raises:
        DataError: there is no such file or folder.

    """
    if given in BUILT_IN:
        return given
    kind = _KINDS.get(path.suffix.lower(), "file")
    try:
        return "folder" if stat.S_ISDIR(path.stat().st_mode) else kind
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such {'file' if path.suffix else 'folder'}; expected {_EXPECTED}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {first_line(error)}; expected {_EXPECTED}") from error


def _check_options(data: DataConfig, kind: str) -> None:
    """No option is given for another kind of data."""
    defaults = DataConfig(source=data.source)
    for owner, names in _OF_KIND.items():
        if kind != owner and any(getattr(data, name) != getattr(defaults, name) for name in names):
            raise ConfigError(f"{', '.join(names)}: only for .{owner} files, found data {data.source}; leave them out")
