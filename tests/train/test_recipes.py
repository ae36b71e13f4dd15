import csv
import re
import subprocess
import sys

import pytest

from support.loading import Notes
from tl_train import compare
from tl_train.config import TrainConfig
from tl_train.errors import ConfigError
from tl_train.recipes import load_recipe, recipe_names, recipe_summary
from tl_train.run.comparison import RecipeResult, _write, as_text

TL_TRAIN = [sys.executable, "-c", "from tl_train.cli import main; main()"]
TINY = ["--arch", "timm:test_efficientnet", "--weights", "none", "--size", "32", "--epochs", "1"]


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_a_valid_configuration_and_says_what_it_is(name):
    TrainConfig.from_fields({**load_recipe(name), "data": "digits"})
    assert len(recipe_summary(name)) > 20


def test_the_tutorial_is_the_chapter_to_the_letter():
    config = TrainConfig.from_fields({**load_recipe("tutorial"), "data": "cats-dogs"})
    assert (config.model.arch, config.model.weights, config.model.mode) == ("efficientnet_b0", "default", "full")
    assert (config.input.size, config.input.color, config.steps.lr, config.steps.optimizer) == (
        256,
        "gray",
        1e-3,
        "adam",
    )
    assert (config.steps.batch_size, config.steps.epochs, config.seed) == (8, 10, 6020)
    assert (config.data.val_split, config.steps.redraw_val, config.steps.schedule) == (0.1, True, "constant")


def test_a_file_extends_a_recipe_and_overrides_it(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('extends = "tutorial"\nepochs = 3\n')
    fields = load_recipe(str(path))
    assert (fields["epochs"], fields["size"]) == (3, 256)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = ", r"r.toml: not valid TOML"),
        ('data = "digits"', r"r.toml: has 'data'"),
        ("extends = 3", r"extends is 3, expected the name of a recipe"),
        ('extends = "nothing"', r"recipe nothing: unknown; expected .*tutorial"),
    ],
)
def test_broken_recipes_are_explained(tmp_path, text, message):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("text", "given", "line"),
    [
        ('epochs = "ten"', [], "Error: recipe r.toml: epochs: found 'ten', expected an integer"),
        ("epoch = 2", [], "Error: recipe r.toml: epoch: unknown field; expected one of anchor"),
        ("lr = 0.1", ["--lr", "nan"], "Error: lr: found nan, expected a finite number"),  # not the recipe's
    ],
)
def test_a_value_that_a_recipe_got_wrong_names_the_recipe(tmp_path, text, given, line):
    (tmp_path / "r.toml").write_text(text)
    command = [*TL_TRAIN, "digits", "--out", "run", "--recipe", "r.toml", *given]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1


def test_a_circle_and_an_absent_file_are_explained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text('extends = "a.toml"')
    with pytest.raises(ConfigError, match="circular extends"):
        load_recipe("a.toml")
    with pytest.raises(ConfigError, match=r"b.toml: cannot be read: .*No such file"):
        load_recipe("b.toml")


def test_recipes_are_listed_without_data_or_folder():
    done = subprocess.run([*TL_TRAIN, "--list-recipes"], capture_output=True, text=True, timeout=60, check=True)
    assert "tutorial\n    The textbook chapter to the letter" in done.stdout


def test_two_recipes_over_two_seeds_are_compared(shapes, tmp_path):
    command = [*TL_TRAIN, str(shapes), "--out", str(tmp_path / "c"), "--recipe", "tutorial",
               "--recipe", "exercise-frozen", "--seeds", "2", *TINY]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "c" / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["recipe"] for row in rows] == ["tutorial", "exercise-frozen"]
    assert all(row["seeds"] == "2" for row in rows)
    assert int(rows[0]["trained_parameters"]) > int(rows[1]["trained_parameters"]) == 256 * 3 + 3
    assert {path.name for path in (tmp_path / "c").iterdir() if path.is_dir()} == {
        "tutorial-seed6020", "tutorial-seed6021", "exercise-frozen-seed6020", "exercise-frozen-seed6021",
    }  # fmt: skip
    assert "exercise-frozen" in (tmp_path / "c" / "comparison.html").read_text()
    assert done.stdout.splitlines()[0].startswith("recipe")


def test_one_seed_has_no_standard_deviation(shapes, tmp_path):
    config = TrainConfig.of(str(shapes), arch="timm:test_efficientnet", weights="none", size=32, mode="head")
    found = compare({"one": config}, 1, str(tmp_path / "c"))
    assert as_text(found).splitlines()[-1].split()[:3] == ["one", f"{found[0].accuracy:.2%}", "-"]
    with (tmp_path / "c" / "comparison.csv").open() as file:
        assert [row["accuracy_stdev"] for row in csv.DictReader(file)] == [""]
    assert "<td>\N{EN DASH}</td>" in (tmp_path / "c" / "comparison.html").read_text()


def test_a_file_is_extended_from_beside_the_one_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.toml").write_text('extends = "base.toml"')
    (tmp_path / "recipes" / "base.toml").write_text("lr = 0.5")
    (tmp_path / "base.toml").write_text("lr = 0.1")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("recipes/mine.toml") == {"lr": 0.5}


def test_recipes_that_would_write_to_one_folder_are_refused_before_any_is_run(shapes, tmp_path):
    config = TrainConfig.of(str(shapes), arch="timm:test_efficientnet", weights="none", size=32, mode="head")
    recipes = {"a/one.toml": config, "b/one.toml": config}
    with pytest.raises(ConfigError, match=r"recipes a/one.toml and b/one.toml: both would be written to one-seed0"):
        compare(recipes, 1, tmp_path / "c", overwrite=True)
    assert not (tmp_path / "c").exists()


def test_a_comparison_without_held_out_images_ends_after_its_first_run(shapes, tmp_path):
    config = TrainConfig.of(
        str(shapes), arch="timm:test_efficientnet", weights="none", size=32, mode="head", test_split=0.0, val_split=0.0
    )
    with pytest.raises(ConfigError, match="recipe one: no images are held back, so there is nothing to compare"):
        compare({"one": config}, 3, tmp_path / "c")
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["one-seed0"]


def test_seeds_below_one_half_are_drawn_where_they_are_and_all_errors_are_counted(shapes, tmp_path):
    classes = [f"c{number}" for number in range(20)]
    confusion = [[1] * 20 for _ in classes]
    confusion[3][7] = 9
    row = RecipeResult("poor", [0.25, 0.45], [3.0, 3.0], [1.0, 1.0], (9, 9), confusion, classes, "test", 200)
    assert row.errors[0] == ("c3", "c7", 9)
    _write([row], str(shapes), tmp_path)
    page = (tmp_path / "comparison.html").read_text()
    assert "on a scale from 20% to 100%" in page
    assert re.findall(r"left: ([0-9.]+)%", page) == ["6.2", "31.2"]
    assert page.count("&rarr;") == 12
    assert f"and {20 * 19 - 1 + 9 - (9 + 11)} more" in page
    assert "Whoever takes the best" not in page
    _write([row, row], str(shapes), tmp_path)
    assert "Whoever takes the best" in (tmp_path / "comparison.html").read_text()


def test_recipes_judged_on_different_images_are_said_to_be(shapes, tmp_path):
    config = TrainConfig.of(str(shapes), arch="timm:test_efficientnet", weights="none", size=32, mode="head")
    progress = Notes()
    compare({"a": config, "b": config.changed(test_split=0.4)}, 1, tmp_path / "c", progress=progress)
    said = (
        "the recipes were judged on different images, so their accuracies are not comparable: a on 6 test images, b on"
    )
    assert any(line.startswith(f"Warning: {said}") for line in progress.lines)
    assert said in (tmp_path / "c" / "comparison.html").read_text()
