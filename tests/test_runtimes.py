"""The same file elsewhere: OpenVINO, other versions and providers of onnxruntime. Skipped where there is none.

`TL_OTHER_PYTHONS` names Python interpreters, separated by colons, that have an onnxruntime of their own beside numpy;
`make other-runtimes` makes some.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tl_infer import load_image
from tl_infer.model.modelfile import read_model
from tl_infer.model.session import Session

SCRIPT = Path(__file__).parent / "support" / "other_runtime.py"
PYTHONS = [python for python in os.environ.get("TL_OTHER_PYTHONS", "").split(os.pathsep) if python]

# Other runtimes sum in another order, and OpenVINO's convolutions are less exact (docs/runtimes.md has what was seen).
# A sum that falls on the other side of a half is a grey level, the reason for the tolerance of the golden samples.
TOLERANCE = 0.01


@pytest.fixture(scope="module")
def session(tiny_model) -> Session:
    return Session(read_model(tiny_model), threads=1)


@pytest.fixture(scope="module")
def images(session, photos) -> list[np.ndarray]:
    """The golden samples, photographs, and sizes at the edges."""
    noise = np.random.default_rng(0)
    shapes = [(1, 1), (1, 300), (300, 1), (64, 64), (65, 63), (1200, 1600)]
    return [
        *(load_image(sample.png) for sample in session.golden.samples),
        *(load_image(path) for path in photos[::10]),
        *(noise.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes),
    ]


@pytest.fixture(scope="module")
def expected(session, images) -> np.ndarray:
    return np.array([session.run(image[np.newaxis], ["probabilities"])[0][0] for image in images])


def test_openvino_answers_as_onnxruntime_does(tiny_model, images, expected):
    openvino = pytest.importorskip("openvino")
    # Float32, as the file says: on some processors OpenVINO's default is bfloat16.
    compiled = openvino.Core().compile_model(tiny_model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = np.array([compiled(image[np.newaxis])["probabilities"][0] for image in images])
    assert np.abs(found - expected).max() <= TOLERANCE


@pytest.mark.skipif(not PYTHONS, reason="TL_OTHER_PYTHONS names no interpreters with another onnxruntime")
@pytest.mark.parametrize("python", PYTHONS)
def test_other_versions_and_providers_of_onnxruntime_answer_the_same(python, tiny_model, images, expected, tmp_path):
    np.savez(tmp_path / "images.npz", *images)
    command = [python, str(SCRIPT), str(tiny_model), str(tmp_path / "images.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for provider, answers in json.loads(done.stdout)["answers"].items():
        assert np.abs(np.array(answers) - expected).max() <= TOLERANCE, provider
