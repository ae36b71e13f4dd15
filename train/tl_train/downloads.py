"""Fetching a file with its checksum into the cache; a file of another checksum is never used."""

import dataclasses
import logging
import os
from pathlib import Path

import platformdirs
import pooch
import requests

from tl_infer.errors import first_line
from tl_train.errors import DownloadError
from tl_train.progress import Progress

RETRIES = 3
TIMEOUT_S = 30


@dataclasses.dataclass(frozen=True, slots=True)
class RemoteFile:
    """A published file: its URL and the SHA-256 (hex) of the only content that is accepted."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """The file's name in the cache: the URL's last part."""
        return self.url.rsplit("/", 1)[1]


def cache_folder() -> Path:
    """Where downloads are kept: `TL_CACHE_DIR` when set, else the platform's place (Linux: ~/.cache/tl-toolkit)."""
    chosen = os.environ.get("TL_CACHE_DIR")
    return Path(chosen) if chosen else platformdirs.user_cache_path("tl-toolkit", appauthor=False)


def fetch(remote: RemoteFile, progress: Progress, offline_alternative: str) -> Path:
    """The cached file, downloaded first when it is not there.

    Args:
        remote: what to fetch.
        progress: shows a bar while downloading.
        offline_alternative: what to do without a network, for the message of a failure.

    Returns:
        Path of a file whose SHA-256 was checked.

    Raises:
        DownloadError: no network, the server refused, or the content is not the expected one; names the URL, the
            cache path and the alternative.

    """
    folder = cache_folder()
    cached = folder / remote.name
    if _is_whole(cached, remote.sha256):
        return cached
    found = "another file lies there now" if cached.exists() else "not there yet"
    pooch.get_logger().setLevel(logging.ERROR)  # what it would say is in our own lines
    store = pooch.create(
        path=folder,
        base_url="",
        registry={remote.name: f"sha256:{remote.sha256}"},
        urls={remote.name: remote.url},
        retry_if_failed=RETRIES,
    )
    try:
        with progress.download(remote.name) as bar:
            downloader = pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT_S)
            return Path(store.fetch(remote.name, downloader=downloader))
    except (requests.RequestException, ValueError, OSError) as error:
        raise DownloadError(
            f"{remote.url}: download failed: {_reason(error)}. "
            f"Put the file by hand at {cached} ({found}; SHA-256 {remote.sha256}), or {offline_alternative}"
        ) from error


def _is_whole(cached: Path, sha256: str) -> bool:
    try:
        return cached.is_file() and bool(pooch.file_hash(str(cached), alg="sha256") == sha256)
    except OSError:  # it cannot be read; fetching it again says so
        return False


def _reason(error: Exception) -> str:
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT_S} s"
    if isinstance(error, ValueError) and "hash" in str(error):
        return "the content has another SHA-256 than expected and was thrown away"
    return first_line(error)
