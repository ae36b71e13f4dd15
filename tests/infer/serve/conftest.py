"""Services for the tests: one that most of them share, and others with options of their own."""

import math

import pytest

from support import onnx_bytes
from support.service import png
from tl_infer.model.golden import GoldenSample, GoldenSet


@pytest.fixture(scope="session")
def colors(tmp_path_factory):
    """Red, green or blue, unsure below 0.9; with embeddings and golden samples."""
    path = tmp_path_factory.mktemp("served") / "colors.onnx"
    spec = onnx_bytes.abstaining_spec(0.9)
    path.write_bytes(onnx_bytes.color_model(spec, extras=True, golden=onnx_bytes.golden_set()))
    return path


@pytest.fixture(scope="session")
def familiar(tmp_path_factory):
    """The same, unfamiliar below 0.5."""
    path = tmp_path_factory.mktemp("served") / "familiar.onnx"
    golden = onnx_bytes.golden_set(familiarity=1.0)
    path.write_bytes(onnx_bytes.color_model(onnx_bytes.familiar_spec(), familiarity="familiarity", golden=golden))
    return path


@pytest.fixture(scope="session")
def several(tmp_path_factory):
    """Any of red, green and blue."""
    path = tmp_path_factory.mktemp("served") / "several.onnx"
    high = 1 / (1 + math.exp(-4))
    sample = GoldenSample(name="red", png=png("red"), probabilities=(high, 1 - high, 1 - high))
    golden = GoldenSet(samples=(sample,), tolerance=1e-4, task="multi").to_json()
    path.write_bytes(onnx_bytes.color_model(onnx_bytes.several_spec(), several=True, golden=golden))
    return path


@pytest.fixture
def start():
    """Starts services that end with the test."""
    pytest.importorskip("uvicorn")
    from support.service import Service

    started = []

    def starting(*arguments):
        started.append(Service(*arguments))
        return started[-1]

    yield starting
    for service in started:
        service.close()


@pytest.fixture(scope="package")
def service(colors, familiar):
    """Two models, and the options that it has by itself."""
    pytest.importorskip("uvicorn")
    from support.service import Service

    service = Service(colors, familiar)
    yield service
    service.close()
