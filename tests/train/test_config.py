import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_train.config import TrainConfig
from tl_train.config.choices import size_in_words
from tl_train.errors import ConfigError


def test_what_is_saved_is_loaded(tmp_path):
    for config in (
        TrainConfig.of("digits"),
        TrainConfig.of('a "b"\n', size=96, lr=1e-5, skip_bad=True),
        TrainConfig.of("digits", fit="crop", resize_px=300, resample="bicubic", augment="light"),
        TrainConfig.of("digits", fit="pad", anchor="top-right", fill="#a0B1c2", size="64x128"),
    ):
        config.save(tmp_path / "config.toml")
        assert TrainConfig.load(tmp_path / "config.toml") == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": "half"}, "mode: found 'half', expected auto or head or partial"),
        ({"color": "blue"}, "color: found 'blue'"),
        ({"size": 31}, "size: found 31, expected 32 to 4096"),
        ({"size": "64 x 128"}, "size: found '64 x 128', expected pixels, as 224, or HEIGHTxWIDTH, as 192x256"),
        ({"size": "64x31"}, "size: found 64x31, expected 32 to 4096 pixels a side"),
        ({"size": 64.5}, "size: found 64.5, expected an integer or a string"),
        ({"size": True}, "size: found True, expected an integer or a string"),
        ({"epochs": -1}, "epochs: found -1, expected 0 or more"),
        ({"mode": "head", "epochs": 0}, "epochs: found 0, expected 1 or more"),
        ({"batch_size": 1}, "batch_size: found 1, expected 2 or more"),
        ({"lr": 0.0}, "lr: found 0.0"),
        ({"lr": float("nan")}, "lr: found nan, expected a finite number"),
        ({"seed": -1}, "seed: found -1"),
        ({"val_split": 1.0}, "val_split: found 1.0"),
        ({"head_fit": "best"}, "head_fit: found 'best', expected sgd or penalised"),
        (
            {"prior": "x.toml", "head_fit": "sgd"},
            "prior: found x.toml with head_fit sgd, expected head_fit penalised, or prior none",
        ),
        ({"max_pixels": 0}, "max_pixels: found 0, expected 1 or more"),
        ({"bit_depth": 7}, "bit_depth: found 7, expected 8 to 16"),
        ({"parts": "none"}, "parts: found 'none', expected auto or ignore"),
        ({"test_split": -0.1}, "test_split: found -0.1"),
        ({"fit": "stretch"}, "fit: found 'stretch', expected squash or letterbox or pad or crop"),
        ({"fit": "pad", "anchor": "left"}, "anchor: found 'left', expected center or top-left"),
        ({"anchor": "top-left"}, "anchor: found top-left, expected center with fit squash; only letterbox and pad"),
        ({"fit": "crop", "fill": "white"}, "fill: found white, expected black with fit crop"),
        ({"fit": "pad", "fill": "red"}, "fill: found red, expected black, white or #rrggbb"),
        ({"fit": "pad", "fill": "#fff"}, "fill: found #fff"),
        ({"fit": "pad", "fill": "#ffffff\n"}, "fill: found #ffffff"),
        ({"resample": "nearest"}, "resample: found 'nearest', expected bilinear or bicubic"),
        ({"resize_px": 256}, "resize_px: found 256, expected nothing with fit squash"),
        ({"fit": "crop", "resize_px": 31}, "resize_px: found 31, expected 32 to 4096"),
        ({"fit": "crop", "size": 64, "resize_px": 63}, "resize_px: found 63, expected 64 to 4096"),
        ({"fit": "crop", "size": "64x96", "resize_px": 95}, "resize_px: found 95, expected 96 to 4096"),
        ({"max_pixels": 2**63}, "max_pixels: found 9223372036854775808, expected a number of at most 64 bits"),
        ({"images_root": "\udcff"}, r"images_root: found '.udcff', expected a name in UTF-8; rename the file or"),
        ({"augment": "lots"}, "augment: found 'lots', expected none or light or standard"),
    ],
)
def test_values_out_of_range_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig.of("digits", **fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data = ", "config.toml: not valid TOML"),
        ('dat = "digits"', "config.toml: dat: unknown field; expected one of anchor, arch"),
        ('data = "digits"\nepochs = "5"', "config.toml: epochs: found '5', expected an integer"),
        ('data = "digits"\nepochs = true', "config.toml: epochs: found True"),
        ('data = "digits"\nepochs = -1', "config.toml: epochs: found -1"),
        ("epochs = 5", "config.toml: data: the field is missing"),
    ],
)
def test_a_broken_file_is_refused_by_the_name_of_the_field(tmp_path, text, message):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        TrainConfig.load(path)


def test_whole_numbers_may_stand_where_floats_do(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('data = "digits"\nval_split = 0')
    assert TrainConfig.load(path).data.val_split == 0


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none.toml: cannot be read: No such file"):
        TrainConfig.load(tmp_path / "none.toml")


@given(height=st.integers(32, 4096), width=st.integers(32, 4096))
def test_a_size_is_height_before_width_and_says_what_it_is(height, width):
    size = TrainConfig.of("digits", size=f"{height}x{width}").input.size_px
    assert size == (height, width)
    again = size_in_words(size)
    assert TrainConfig.of("digits", size=int(again) if again.isdecimal() else again).input.size_px == size


def test_fine_tuning_from_a_fitted_head_has_defaults_of_its_own_which_what_is_given_overrides():
    full, gradual = (TrainConfig.of("photos", mode=mode).steps for mode in ("full", "gradual"))
    assert (full.optimizer, full.lr, full.batch_size, full.epochs) == ("adamw", 3e-4, 32, 8)
    assert (gradual.optimizer, gradual.lr, gradual.finetune_lr, gradual.head_epochs) == ("adamw", 1e-3, None, 1)
    assert TrainConfig.of("photos", mode="full", optimizer="adam").steps.optimizer == "adam"
    plain = TrainConfig.of("photos", mode="head").steps
    assert TrainConfig.of("photos", mode="gradual", head_fit="sgd").steps == plain  # there is no head to go on from


@pytest.mark.parametrize("mode", [["full"], 3, None, {}])
def test_a_mode_of_another_type_is_one_error(mode):
    with pytest.raises(ConfigError, match=r"^mode: found"):
        TrainConfig.from_fields({"data": "photos", "mode": mode})
