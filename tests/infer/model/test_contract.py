import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_infer import FamiliaritySpec, ModelFileError, ModelSpec, ParitySummary, PreprocessSpec

PREPROCESS = PreprocessSpec(size=(224, 192), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), color="gray")
SPEC = ModelSpec(
    labels=("dog", "cat"),
    preprocess=PREPROCESS,
    architecture="efficientnet_lite0",
    weights="default",
    temperature=1.5,
    abstain_below=0.6,
    data_fingerprint="ab" * 32,
    versions={"torch": "2.15.0"},
    metrics={"test_accuracy": 0.9125},
    parity=ParitySummary(
        pictures=80,
        top1_agreement=1.0,
        max_probability_difference=1e-6,
        stages={"tensor": 0.0, "logits": 1e-5},
        tolerances={"tensor": 1e-5, "logits": 1e-4},
        batch_difference=1e-7,
    ),
)


def changed(**fields: Any) -> str:
    """The good spec's JSON with fields replaced; a name with `__` reaches into an object, `...` removes."""
    document = json.loads(SPEC.to_json())
    for name, value in fields.items():
        *path, last = name.split("__")
        target = document
        for part in path:
            target = target[part]
        if value is ...:
            del target[last]
        else:
            target[last] = value
    return json.dumps(document)


def test_what_is_written_is_read_back():
    assert ModelSpec.from_json(SPEC.to_json()) == SPEC


labels = st.lists(st.text(min_size=1).filter(str.strip), min_size=2, max_size=5, unique=True).map(tuple)
colours = st.tuples(*[st.floats(0.001, 1)] * 3)


@given(labels=labels, mean=colours, std=colours, size=st.tuples(st.integers(1, 4096), st.integers(1, 4096)))
def test_any_valid_spec_survives_the_file(labels, mean, std, size):
    spec = ModelSpec(
        labels=labels,
        preprocess=PreprocessSpec(size=size, mean=mean, std=std, fit="letterbox", anchor="top-left"),
        architecture="a",
        weights="w",
    )
    assert ModelSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "tl.spec: not valid JSON"),
        ("{", "tl.spec: not valid JSON"),
        ("[" * 100_000, "tl.spec: not valid JSON"),
        ("[1]", r"tl.spec: found \[1\], expected an object"),
        ('{"version": 1, "version": 1}', "a field is there twice"),
        (changed(temperature=1).replace('"temperature": 1', '"temperature": NaN'), "NaN is not a number"),
        (changed(temperature=1).replace('"temperature": 1', '"temperature": 1e999'), "temperature: found inf"),
        (changed(version=3), "tl.spec: version: found 3, expected 1 or 2; install"),
        (changed(version=True), "version: found True"),
        (changed(version=...), "version: found None"),
        (changed(labels=...), "tl.spec: labels: the field is missing; update tl-toolkit, or export the model again"),
        (changed(labels="dog"), "tl.spec: labels: found 'dog', expected a list"),
        (changed(labels=["dog", 1]), r"labels\[1\]: found 1, expected a string"),
        (changed(labels=["dog", "dog"]), "labels: found 'dog', expected no label twice"),
        (changed(labels=["dog", " "]), r"labels: found \[' '\], expected no empty label"),
        (changed(labels=["dog"]), "labels: found 1, expected 2 to"),
        (changed(color="red"), "tl.spec: 'color': unknown field, expected one of abstain_below, architecture"),
        (changed(temperature=0), "temperature: found 0.0"),
        (changed(temperature="1"), "temperature: found '1', expected a number"),
        (changed(temperature=None), "temperature: found None, expected a number"),
        (changed(abstain_below=2), "abstain_below: found 2.0"),
        (changed(versions=[]), r"versions: found \[\], expected an object"),
        (changed(metrics={"a": True}), r"metrics\['a'\]: found True, expected a number"),
        (changed(preprocess=None), "preprocess: found None, expected an object"),
        (changed(preprocess__size=...), "preprocess.size: the field is missing"),
        (changed(preprocess__resize_px=...), "preprocess.resize_px: the field is missing"),
        (changed(preprocess__size=[0, 5]), r"tl.spec: preprocess.size: found \(0, 5\)"),
        (changed(preprocess__size=[10**9, 5]), "expected 1 to 4096 pixels a side"),
        (changed(preprocess__size=[5]), r"preprocess.size: found \[5\], expected 2 values"),
        (changed(preprocess__size=[5.5, 5]), r"preprocess.size\[0\]: found 5.5, expected an integer"),
        (changed(preprocess__std=[1, 1, 0]), "preprocess.std: found .* expected finite numbers above zero"),
        (changed(preprocess__mean=[1, 1]), r"preprocess.mean: found \[1, 1\], expected 3 values"),
        (changed(preprocess__color="blue"), "preprocess.color: found 'blue', expected rgb or gray"),
        (changed(preprocess__fit="crop"), "preprocess.resize_px: found None"),
        (changed(preprocess__resize_px=256), "resize_px: found 256, expected nothing unless fit is crop"),
        (changed(preprocess__fill=[0, 0, 256]), "preprocess.fill: found"),
        (changed(parity__pictures=-1), "parity.pictures: found -1"),
        (changed(parity__batch_difference=2), "parity.batch_difference: found 2.0, expected 0 to 1"),
        (changed(parity__stages={"logits": -1}), r"parity.stages: found \{'logits': -1.0\}"),
        (changed(parity__tolerances=[]), r"parity.tolerances: found \[\]"),
    ],
)  # fmt: skip
def test_a_broken_spec_is_refused_by_the_name_of_the_field(text, message):
    with pytest.raises(ModelFileError, match=message):
        ModelSpec.from_json(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": (5,)}, r"size: found \(5,\), expected height and width"),
        ({"mean": (1.0, 1.0)}, r"mean: found \(1.0, 1.0\), expected three values"),
        ({"color": "blue"}, "color: found 'blue', expected rgb or gray"),
    ],
)
def test_a_spec_that_a_program_makes_is_held_to_the_same(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PREPROCESS, **fields)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)


@given(field=st.sampled_from(sorted(json.loads(SPEC.to_json()))), value=json_values)
def test_any_value_in_any_field_is_read_or_refused_never_a_crash(field, value):
    try:
        ModelSpec.from_json(changed(**{field: value}))
    except ModelFileError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right, this is about its form


FAMILIAR = dataclasses.replace(SPEC, familiarity=FamiliaritySpec(unfamiliar_below=0.05, images=1000))


def test_a_spec_is_written_in_the_lowest_version_that_has_room_for_it():
    assert json.loads(SPEC.to_json())["version"] == 1
    assert "familiarity" not in json.loads(SPEC.to_json())
    document = json.loads(FAMILIAR.to_json())
    assert document["version"] == 2
    assert document["familiarity"] == {"unfamiliar_below": 0.05, "images": 1000}
    assert ModelSpec.from_json(FAMILIAR.to_json()) == FAMILIAR


def test_what_version_2_adds_may_be_absent_from_it():
    assert ModelSpec.from_json(changed(version=2)) == SPEC


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(familiarity=None), "tl.spec: 'familiarity': unknown field, expected one of"),
        (changed(version=2, task="multi"), "tl.spec: 'task': unknown field, expected one of .*; update tl-toolkit"),
        (changed(version=2, familiarity={}), "tl.spec: familiarity.images: the field is missing; update tl-toolkit"),
        (
            changed(version=2, familiarity={"unfamiliar_below": 2, "images": 9}),
            "familiarity.unfamiliar_below: found 2.0",
        ),
        (changed(version=2, familiarity={"unfamiliar_below": 0, "images": 0}), "familiarity.images: found 0, expected"),
        (changed(version=2, labels=...), "tl.spec: labels: the field is missing"),
    ],
)
def test_what_is_wrong_in_version_2_is_named(text, message):
    with pytest.raises(ModelFileError, match=message):
        ModelSpec.from_json(text)
