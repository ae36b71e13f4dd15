import hashlib
import http.server
import logging
import threading
from collections.abc import Iterator

import pooch
import pytest

from tl_train import downloads
from tl_train.downloads import RemoteFile, cache_folder, fetch
from tl_train.errors import DownloadError
from tl_train.progress import Progress

CONTENT = b"the published file" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    failures = 0

    def do_GET(self) -> None:
        if self.path == "/missing.mat":
            self.send_error(404)
            return
        if Handler.failures:
            Handler.failures -= 1
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - the base class's name


@pytest.fixture
def server(monkeypatch, tmp_path) -> Iterator[str]:
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path / "cache"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def test_a_file_is_fetched_once_checked_and_kept(server, tmp_path):
    path = fetch(RemoteFile(f"{server}/a.mat", SHA256), Progress(), "do without")
    assert path == tmp_path / "cache" / "a.mat"
    assert path.read_bytes() == CONTENT
    offline = RemoteFile("http://127.0.0.1:9/a.mat", SHA256)
    assert fetch(offline, Progress(), "do without") == path


def test_a_server_that_recovers_is_asked_again_in_silence(server, monkeypatch):
    told = []
    handler = logging.Handler()
    handler.emit = told.append
    pooch.get_logger().addHandler(handler)
    monkeypatch.setattr(Handler, "failures", 1)
    assert fetch(RemoteFile(f"{server}/a.mat", SHA256), Progress(), "do without").read_bytes() == CONTENT
    assert told == []


def test_other_content_is_never_used(server, monkeypatch, tmp_path):
    monkeypatch.setattr(downloads, "RETRIES", 0)
    wrong = hashlib.sha256(b"what was published").hexdigest()
    with pytest.raises(DownloadError, match=r"another SHA-256 than expected and was thrown away"):
        fetch(RemoteFile(f"{server}/a.mat", wrong), Progress(), "do without")
    assert not list((tmp_path / "cache").iterdir())


def test_a_failure_names_the_url_the_cache_and_the_way_round(monkeypatch, tmp_path):
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(downloads, "RETRIES", 0)
    (tmp_path / "a.mat").write_bytes(b"damaged")
    with pytest.raises(DownloadError) as caught:
        fetch(RemoteFile("http://127.0.0.1:9/a.mat", SHA256), Progress(), "train on digits")
    message = str(caught.value)
    for part in ("http://127.0.0.1:9/a.mat", "no connection", str(tmp_path / "a.mat"), SHA256, "train on digits"):
        assert part in message
    assert "another file lies there now" in message
    assert (tmp_path / "a.mat").read_bytes() == b"damaged", "what the user put there is not taken away"


def test_a_refusal_of_the_server_is_shown(server, monkeypatch):
    monkeypatch.setattr(downloads, "RETRIES", 0)
    with pytest.raises(DownloadError, match="404"):
        fetch(RemoteFile(f"{server}/missing.mat", SHA256), Progress(), "do without")


def test_the_cache_follows_the_platform_unless_told(monkeypatch, tmp_path):
    monkeypatch.delenv("TL_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "tl-toolkit"


def test_what_lies_in_the_cache_and_cannot_be_read_is_fetched_again(server, tmp_path):
    remote = RemoteFile(f"{server}/a.mat", SHA256)
    cached = fetch(remote, Progress(), "do without")
    cached.unlink()
    cached.mkdir()
    with pytest.raises(DownloadError, match=r"a\.mat \(another file lies there now; SHA-256 .*, or do without"):
        fetch(remote, Progress(), "do without")
