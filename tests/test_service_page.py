"""What docs/service.md shows works as it stands, against a service."""

import json
import re
import shlex
import shutil
import subprocess
import urllib.request
from pathlib import Path

import click
import pytest

from support import onnx_bytes
from support.service import png

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
LINES = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)).splitlines()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    pytest.importorskip("uvicorn")
    from support.service import Service

    path = tmp_path_factory.mktemp("service") / "photos.onnx"
    path.write_bytes(onnx_bytes.color_model(golden=onnx_bytes.golden_set()))
    service = Service(path)
    yield service
    service.close()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, color in (("photo.jpg", "red"), ("a.jpg", "blue"), ("b.jpg", (0, 255, 0))):
        (tmp_path / name).write_bytes(png(color))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def on_port(text, service):
    return text.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")


def test_the_python_code_runs(service, folder, capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec(compile(on_port(code, service), "service.md", "exec"), {})
    assert re.fullmatch(r"red 0\.999\d*\n", capsys.readouterr().out)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_requests_are_answered(service, folder):
    answers = []
    for line in LINES:
        if line.startswith("curl "):
            command = ["curl", "--silent", "--fail", *shlex.split(on_port(line, service))[1:]]
            done = subprocess.run(command, capture_output=True, timeout=60, check=True)
            answers.append(json.loads(done.stdout))
    one, several, model = answers
    assert (one["label"], len(one["top"])) == ("red", 2)
    assert [row["label"] for row in several["results"]] == ["blue", "green"]
    assert model["name"] == "photos"


def test_every_option_shown_is_there():
    from tl_infer.cli.serving import command

    shown = [shlex.split(line, comments=True)[2:] for line in LINES if line.startswith("tl-infer serve ")]
    assert len(shown) == 2
    with click.Context(command) as context:
        for arguments in shown:
            command.make_parser(context).parse_args(arguments)
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    assert set(re.findall(r"`(--[a-z-]+)`", PAGE)) <= known


def test_what_the_page_says_of_the_keys(service, folder):
    request = urllib.request.Request(on_port("http://127.0.0.1:8000/classify", service), png("red"))
    with urllib.request.urlopen(request) as answer:
        keys = json.load(answer).keys()
    table = PAGE.partition("image gives an object:")[2].partition("Several give")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == keys


def test_the_files_that_it_names_are_there():
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).resolve().exists(), target
