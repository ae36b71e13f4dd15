"""What was computed of an image, kept on disk by the image's content, so that it is never computed twice.

One SQLite file per kind of value (a "space": the features of one backbone behind one preprocessing, say). SQLite brings
what is hard to get right by hand: several processes at once, and a file that is whole after a crash. A row whose
checksum is wrong counts as absent; a file that SQLite cannot read is begun anew.
"""

import contextlib
import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from tl_train.downloads import cache_folder

# All files together; the least recently used ones go first.
MAX_BYTES = 20 * 10**9

_FOLDER = "images"
_CHECKSUM_BYTES = 8
_BUSY_TIMEOUT_S = 30
_SCHEMA = "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"


def content_key(content: bytes | memoryview, use: str = "") -> bytes:
    """16 bytes that name a content, and what is made of it where that is not the usual (at most 16 bytes)."""
    return hashlib.blake2b(content, digest_size=16, person=use.encode()).digest()


class ContentCache:
    """The values of one space; thread-safe. Where nothing can be kept (a full or read-only disk), it keeps nothing."""

    def __init__(self, space: str, folder: Path | None = None) -> None:
        """Open the space's file; its name is a hash of `space`, which says all that the values depend on."""
        root = (folder or cache_folder()) / _FOLDER
        self._path = root / f"{hashlib.sha256(space.encode()).hexdigest()[:32]}.sqlite"
        self._lock = threading.Lock()
        self._connection = _open(self._path)

    def get(self, key: bytes) -> bytes | None:
        """The value kept for the key; None where there is none, or it is damaged."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            if self._connection is not None:
                found = self._connection.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
                return _unsealed(found[0]) if found else None
        return None

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """Keep values by key, in one transaction."""
        rows = [(key, _sealed(value)) for key, value in values.items()]
        with self._lock, contextlib.suppress(sqlite3.Error):
            if self._connection is not None:
                with self._connection:
                    self._connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?)", rows)

    def close(self) -> None:
        """Close the file, and drop others where all together have grown too large."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
                _drop_oldest(self._path.parent, keep=self._path)


def _open(path: Path) -> sqlite3.Connection | None:
    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _connected(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, read-only, no room: not the file's fault
                return None
            with contextlib.suppress(OSError):  # then it is no better the second time
                for damaged in _files_of(path):
                    damaged.unlink(missing_ok=True)
        except OSError:
            return None
    return None


def _connected(path: Path) -> sqlite3.Connection:
    """A connection to a file that has the table; where that fails, none is left open."""
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(_SCHEMA)
        path.touch()  # when it was last used
    except BaseException:
        connection.close()
        raise
    return connection


def _files_of(path: Path) -> Iterator[Path]:
    """A database and what SQLite keeps beside it."""
    yield from (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"))


def _drop_oldest(folder: Path, keep: Path) -> None:
    with contextlib.suppress(OSError):
        files = sorted(folder.glob("*.sqlite"), key=lambda file: file.stat().st_mtime)
        total = sum(file.stat().st_size for file in files)
        for file in files:
            if total <= MAX_BYTES:
                return
            if file != keep:
                total -= file.stat().st_size
                for part in _files_of(file):
                    part.unlink(missing_ok=True)


def _sealed(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=_CHECKSUM_BYTES).digest() + value


def _unsealed(stored: bytes) -> bytes | None:
    checksum, value = stored[:_CHECKSUM_BYTES], stored[_CHECKSUM_BYTES:]
    return value if hashlib.blake2b(value, digest_size=_CHECKSUM_BYTES).digest() == checksum else None
