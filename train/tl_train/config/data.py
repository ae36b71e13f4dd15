"""Which images a run uses, how they are read, and how they are split."""

import dataclasses

from tl_infer.limits import DEFAULT_LIMITS, FULL_DEPTH, MIN_DEPTH, Limits, parse_formats
from tl_train.config.choices import (
    DEFAULT_SEPARATOR,
    DEFAULT_TEST_SPLIT,
    DEFAULT_VAL_SPLIT,
    MatOrder,
    Parts,
)
from tl_train.config.options import check, check_types, option
from tl_train.errors import ConfigError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Where the images come from and how they are split."""

    source: str = option(
        name="data", on_command_line=False,  # there it is the argument
        help="cats-dogs, digits, a folder with one sub-folder per class (or train/, val/, test/ with those), a CSV "
        "file with columns for the images and their labels, or a .mat file.",
    )  # fmt: skip
    val_split: float | None = option(
        None,
        shown=f"{DEFAULT_VAL_SPLIT}; with modes auto, partial and head and a penalised head, 0 if the dataset has a "
        "test split",
        help="Fraction of the training images held out for validation, unless the dataset has a validation split.",
    )
    test_split: float | None = option(
        None,
        shown=f"{DEFAULT_TEST_SPLIT}",
        help="Fraction of the images held out for testing, unless the dataset has a test split.",
    )
    parts: Parts = option(
        "auto",
        help="auto: folders named train, val, test (or training, valid, validation, dev, testing) and the split column "
        "of a CSV file define the parts of the dataset; ignore: such folders are classes, the column is not read.",
    )
    multi_label: bool = option(
        False,
        help="An image may have several labels: those of a CSV file's column 'labels'; or its columns of 1 (present), "
        "0 (absent) or nothing (unknown), one per label; or of all class folders that hold a copy of it. With modes "
        "head (the default with it), gradual and full.",
    )
    label_separator: str = option(
        DEFAULT_SEPARATOR, metavar="TEXT", help="What stands between the labels in a CSV file's column 'labels'."
    )
    csv_columns: str = option(
        "", metavar="path=A,label=B", shown="",
        help="Columns of a CSV file that hold the image paths, the labels and, optionally, split and group.",
    )  # fmt: skip
    images_root: str = option(
        "", metavar="DIR", shown="", help="Folder that the paths in a CSV file are relative to, if not the file's own."
    )
    unknown: str = option(
        "", metavar="DIR", shown="",
        help="Folder of images of none of the classes: the report says how many the model finds unfamiliar.",
    )  # fmt: skip
    fix: str = option(
        "", metavar="FILE", shown="",
        help="Corrections of labels: an earlier run's suspects.csv with keep, relabel or drop in its column action; "
        "relabel takes the class in the column suggested. The images and their folders stay as they are.",
    )  # fmt: skip
    skip_bad: bool = option(False, help="Skip unreadable images instead of stopping.")
    no_cache: bool = option(False, help="Do not read or write the cache.")
    max_pixels: int = option(DEFAULT_LIMITS.max_pixels, help="Refuse images with more pixels.")
    max_side: int = option(
        DEFAULT_LIMITS.max_side_px, metavar="PIXELS", help="Refuse images wider or taller than this."
    )
    bit_depth: int = option(
        FULL_DEPTH,
        metavar="BITS",
        help="Significant bits in 16-bit images, e.g. 12 for a 12-bit camera; stored in the exported file.",
    )
    formats: str = option(
        "", metavar="A,B", shown="",
        help="Also read images of these formats: avif, heic (needs the extra heif), jpeg2000, "
        "pnm (PPM, PGM, PBM), tga.",
    )  # fmt: skip
    mat_keys: str = option("", metavar="A,B", shown="", help="Variables of a .mat file, one per class.")
    mat_shape: str = option("", metavar="HxW", shown="", help="Height and width of an image in a .mat file: 64x64.")
    mat_order: MatOrder = option(
        "column",
        help="Order of an image's values in a .mat file: down its columns, as MATLAB stores them, or along its rows.",
    )

    def __post_init__(self) -> None:
        check_types(self)
        check(bool(self.source), "data", "nothing", "a folder, a file or the name of a built-in set")
        check(0 <= self.val_share <= 0.9, "val_split", self.val_split, "0 to 0.9")
        check(0 <= self.test_share <= 0.9, "test_split", self.test_split, "0 to 0.9")
        needs = self.multi_label or self.label_separator == DEFAULT_SEPARATOR
        check(needs, "label_separator", self.label_separator, "multi_label with it")
        check(bool(self.label_separator), "label_separator", "nothing", "what stands between labels")
        for name in ("max_pixels", "max_side"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        in_range = MIN_DEPTH <= self.bit_depth <= FULL_DEPTH
        check(in_range, "bit_depth", self.bit_depth, f"{MIN_DEPTH} to {FULL_DEPTH}")
        try:
            Limits(formats=parse_formats(self.formats))
        except ValueError as error:
            raise ConfigError(str(error)) from error

    @property
    def limits(self) -> Limits:
        """What decoding an image may take, and how 16-bit images are scaled."""
        bit_depth = None if self.bit_depth == FULL_DEPTH else self.bit_depth
        formats = parse_formats(self.formats)
        return Limits(max_pixels=self.max_pixels, max_side_px=self.max_side, bit_depth=bit_depth, formats=formats)

    @property
    def val_share(self) -> float:
        """Fraction of the training images to hold out for validation where any are."""
        return DEFAULT_VAL_SPLIT if self.val_split is None else self.val_split

    @property
    def test_share(self) -> float:
        """Fraction of the images to hold out for testing, where the dataset has no test split."""
        return DEFAULT_TEST_SPLIT if self.test_split is None else self.test_split
