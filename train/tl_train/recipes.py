"""Named configurations: TOML files with the fields of `TrainConfig` except `data`, which may extend one another."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from tl_infer.model.records import brief
from tl_train.config.toml_file import read_toml
from tl_train.errors import ConfigError

DEFAULT_RECIPE = "auto"

_EXTENDS = "extends"
_MAX_DEPTH = 8


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    folder = resources.files("tl_train").joinpath("recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def recipe_summary(name: str) -> str:
    """The comment at the top of a recipe of the package, as one line."""
    lines = _source(name).splitlines()
    comment = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return " ".join(comment)


def load_recipe(name: str) -> dict[str, Any]:
    """The fields that a recipe sets; those of the recipe it extends come first.

    Args:
        name: of a recipe of the package, or the path of a TOML file.

    Raises:
        ConfigError: no such recipe, not TOML, or a circular extends.

    """
    fields: dict[str, Any] = {}
    for _ in range(_MAX_DEPTH):
        own = _fields(name)
        parent = own.pop(_EXTENDS, None)
        fields = {**own, **fields}
        if "data" in fields:
            raise ConfigError(f"recipe {name}: has 'data'; a recipe is for any dataset, which the command line names")
        if parent is None:
            return fields
        if not isinstance(parent, str):
            raise ConfigError(f"recipe {name}: extends is {brief(parent)}, expected the name of a recipe")
        name = _beside(name, parent)
    raise ConfigError(f"recipe {name}: extends more than {_MAX_DEPTH} levels deep; circular extends?")


def _beside(name: str, parent: str) -> str:
    """What a recipe extends: one of the package, or a file, its path relative to that of the file that names it."""
    return str(Path(name).parent / parent) if parent.endswith(".toml") else parent


def _fields(name: str) -> dict[str, Any]:
    if name in recipe_names():
        return tomllib.loads(_source(name))
    path = Path(name)
    if path.suffix != ".toml":
        raise ConfigError(f"recipe {name}: unknown; expected {', '.join(recipe_names())} or a .toml file")
    return read_toml(path, f"recipe {name}", "a recipe")


def _source(name: str) -> str:
    return resources.files("tl_train").joinpath("recipes", f"{name}.toml").read_text(encoding="utf-8")
