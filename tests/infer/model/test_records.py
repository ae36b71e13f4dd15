"""tl_infer.model.records: what the hints declare is read, everything else is refused by the name of the field."""

import dataclasses
import datetime
import json
from collections.abc import Mapping
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_infer.model.records import brief, read, read_value


class ConfigError(ValueError):
    """As another package has one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps:
    count: int
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"count: found {self.count}, expected 1 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    name: str
    steps: Steps = Steps(count=1)
    skip: bool = False
    mode: Literal["full", "head"] = "full"
    seed: Literal[0, 1] | None = None
    size: tuple[int, int] = (1, 1)
    path: tuple[tuple[str, float], ...] = ()
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    blob: bytes = b""


FULL = Config(
    name="a", steps=Steps(count=2, rate=1.5), skip=True, mode="head", seed=1, size=(3, 4),
    path=(("x", 0.5), ("y", 2.0)), scores={"a": 1.0}, blob=b"\x00\xff",
)  # fmt: skip
TEXT = {**dataclasses.asdict(FULL), "blob": "AP8=", "size": [3, 4], "path": [["x", 0.5], ["y", 2]]}


def test_every_type_is_read():
    assert read(Config, json.loads(json.dumps(TEXT)), ConfigError) == FULL


def test_an_integer_stands_for_a_float_and_becomes_one():
    rate = read(Steps, {"count": 1, "rate": 2}, ConfigError).rate
    assert (rate, type(rate)) == (2.0, float)


@pytest.mark.parametrize(
    ("missing", "message"), [("name", "^name: the field is missing$"), ("blob", "^blob: the field is missing$")]
)
def test_every_field_must_be_there(missing, message):
    with pytest.raises(ConfigError, match=message):
        read(Config, {name: value for name, value in TEXT.items() if name != missing}, ConfigError)


def test_one_value_is_read_as_a_field_is():
    assert read_value(float | None, 2, "rate", ConfigError) == 2.0
    assert read_value(Literal["a", "b"], "a", "kind", ConfigError) == "a"
    with pytest.raises(ConfigError, match=r"^rate: found 'x', expected a number$"):
        read_value(float, "x", "rate", ConfigError)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", 1, "name: found 1, expected a string"),
        ("name", None, "name: found None, expected a string"),
        ("steps", [], r"steps: found \[\], expected an object"),
        ("steps", {"count": 0, "rate": 1}, "steps.count: found 0, expected 1 or more"),
        ("steps", {"count": 1.0, "rate": 1}, "steps.count: found 1.0, expected an integer"),
        ("steps", {"count": True, "rate": 1}, "steps.count: found True, expected an integer"),
        ("steps", {"count": 1, "rate": False}, "steps.rate: found False, expected a number"),
        ("steps", {"count": 1, "rate": float("nan")}, "steps.rate: found nan, expected a finite number"),
        ("steps", {"count": 1, "rate": 10**400}, "steps.rate: found 10000.*, expected a finite number"),
        ("steps", {"count": 1, "rate": 1, "a\nb": 2}, r"steps.'a\\nb': unknown field, expected one of count, rate"),
        ("skip", 1, "skip: found 1, expected true or false"),
        ("mode", "all", "mode: found 'all', expected full or head"),
        ("mode", [], r"mode: found \[\], expected full or head"),
        ("seed", True, "seed: found True, expected 0 or 1"),
        ("size", [1], r"size: found \[1\], expected 2 values"),
        ("size", [1, "2"], r"size\[1\]: found '2', expected an integer"),
        ("path", [["x", 1], ["y", "z"]], r"path\[1\]\[1\]: found 'z', expected a number"),
        ("scores", {"a\n": "b"}, r"scores\['a\\n'\]: found 'b', expected a number"),
        ("blob", "A", "blob: found 'A', expected base64"),
        ("blob", "\u00e4", "blob: found 'ä', expected base64"),
        ("blob", 3, "blob: found 3, expected base64"),
        ("name", datetime.date(2026, 1, 2), r"name: found datetime.date\(2026, 1, 2\), expected a string"),
    ],
)  # fmt: skip
def test_what_the_hints_do_not_declare_is_refused_by_the_name_of_the_field(field, value, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        read(Config, {**TEXT, field: value}, ConfigError)


def test_the_callers_error_has_the_cause():
    with pytest.raises(LookupError, match=r"^config.toml: found 1, expected an object$") as caught:
        read(Config, 1, lambda problem: LookupError(f"config.toml: {problem}"))
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_hint_without_a_rule_is_a_defect_of_ours():
    @dataclasses.dataclass
    class Odd:
        value: set[int]

    with pytest.raises(TypeError, match=r"value: there is no rule for reading set\[int\]"):
        read(Odd, {"value": [1]}, ConfigError)


def test_of_a_union_each_type_may_stand():
    @dataclasses.dataclass
    class Either:
        value: int | str | None

    for value in (1, "1", None):
        assert read(Either, {"value": value}, LookupError).value == value
    for value in (True, 1.0, [1]):
        with pytest.raises(LookupError, match=r"^value: found .*, expected an integer or a string$"):
            read(Either, {"value": value}, LookupError)


def test_what_is_long_or_deep_is_shortened():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in ("x" * 1000, ["x" * 1000] * 1000, deep, {"x" * 1000: ["y" * 1000] * 1000}):
        assert len(brief(value)) < 600


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*TEXT, "other"]), values))
def test_any_document_is_read_or_refused_on_one_line(document):
    try:
        config = read(Config, {**TEXT, **document}, ConfigError)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right, this is about its form
    else:
        assert read(Config, {**TEXT, **document}, ConfigError) == config
