"""`hf://`: what is refused, and the file in a cache that is laid out as huggingface_hub does; nothing is downloaded."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import onnx_bytes
from tl_infer import Classifier, ModelFileError
from tl_infer.model.hub import HubFile

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = onnx_bytes.color_model()
DIGEST = hashlib.sha256(MODEL).hexdigest()
REFERENCE = f"hf://some-org/some.repo@{COMMIT}/onnx/photos.onnx#sha256={DIGEST}"


def test_its_parts_are_read():
    found = HubFile.parse(REFERENCE)
    assert found == HubFile("some-org/some.repo", COMMIT, "onnx/photos.onnx", DIGEST)
    assert HubFile.parse(REFERENCE.replace(COMMIT, COMMIT.upper()).replace(DIGEST, DIGEST.upper())) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (REFERENCE.replace(COMMIT, "main"), "the revision 'main' is no commit, expected its 40 hexadecimal digits"),
        (REFERENCE.replace(COMMIT, COMMIT[:7]), "the revision '0123456' is no commit"),
        (REFERENCE.replace(f"@{COMMIT}", "@"), "the revision '' is no commit"),
        (REFERENCE.partition("#")[0], "expected #sha256= and the 64 hexadecimal digits of the file"),
        (REFERENCE[:-1], "expected #sha256= and the 64"),
        (REFERENCE.replace("sha256", "sha1"), "expected #sha256= and the 64"),
        (
            f"hf://some-org/some.repo/photos.onnx#sha256={DIGEST}",
            "expected hf://ORG/REPO@COMMIT/FILE.onnx#sha256=DIGEST",
        ),
        (f"hf://repo@{COMMIT}/photos.onnx#sha256={DIGEST}", "expected hf://ORG/REPO@COMMIT"),
        (f"hf://org/repo@{COMMIT}#sha256={DIGEST}", "expected hf://ORG/REPO@COMMIT"),
        (f"hf://org/repo@{COMMIT}/../secret#sha256={DIGEST}", "expected hf://ORG/REPO@COMMIT"),
        (f"hf://org/repo@{COMMIT}/a\n.onnx#sha256={DIGEST}", "expected hf://ORG/REPO@COMMIT"),
        (f"hf://../repo@{COMMIT}/a.onnx#sha256={DIGEST}", "expected hf://ORG/REPO@COMMIT"),
        ("hf://", "expected hf://ORG/REPO@COMMIT"),
    ],
)
def test_what_is_not_pinned_is_refused(text, message):
    with pytest.raises(ModelFileError, match=message):
        Classifier(text)


def test_without_the_client_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        ModelFileError, match=r"needs the Hugging Face client; install it with: pip install 'tl-toolkit\[hub\]'"
    ):
        Classifier(REFERENCE)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """A cache with the file in it, as the client lays it out; whatever asks the hub fails."""
    constants = pytest.importorskip("huggingface_hub.constants")
    folder = tmp_path / "models--some-org--some.repo"
    (folder / "blobs").mkdir(parents=True)
    (folder / "blobs" / DIGEST).write_bytes(MODEL)
    snapshot = folder / "snapshots" / COMMIT / "onnx"
    snapshot.mkdir(parents=True)
    (snapshot / "photos.onnx").symlink_to(Path("../../../blobs") / DIGEST)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def test_a_file_in_the_cache_is_opened_without_asking_the_hub(cache):
    classifier = Classifier(REFERENCE)
    assert classifier.sha256 == DIGEST
    assert Classifier(REFERENCE, sha256=DIGEST).labels == classifier.labels
    with pytest.raises(ModelFileError, match=f"its SHA-256 is {DIGEST}, expected 0000"):
        Classifier(REFERENCE, sha256="0" * 64)


def test_another_file_in_the_cache_is_refused(cache):
    (cache / "blobs" / DIGEST).write_bytes(onnx_bytes.color_model(extras=True))
    with pytest.raises(ModelFileError, match=f"expected {DIGEST}; this is not the file you pinned"):
        Classifier(REFERENCE)


def test_a_file_that_is_not_to_be_had_is_one_line(cache):
    for text in (REFERENCE.replace("photos", "others"), REFERENCE.replace(COMMIT, COMMIT[::-1])):
        with pytest.raises(
            ModelFileError, match=r"hf://some-org/some.repo@[0-9a-f]{40}/.*: cannot be downloaded: "
        ) as error:
            Classifier(text)
        assert len(str(error.value).splitlines()) == 1


def test_the_program_takes_it_too(cache, tmp_path):
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "tl_infer", REFERENCE, "--info"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=True)
    assert "red" in done.stdout
    command[3] = REFERENCE.replace(COMMIT, "main")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "the revision 'main' is no commit" in done.stderr
