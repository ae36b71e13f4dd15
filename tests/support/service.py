"""`tl-infer serve` as a process, its log lines, and clients of it; nothing here waits for a fixed time."""

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image

PATIENCE_S = 60  # only a failing test waits so long
_ONE_PROCESSOR = "import os, sys; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]);"
_PROGRAM = "from tl_infer.cli.command import main; main()"


def png(color: Any, size: tuple[int, int] = (6, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


class Service:
    """A running service. It has one processor, so it decodes one image at a time and two threads take images."""

    def __init__(self, *arguments: object) -> None:
        self.lines: list[dict[str, Any]] = []
        self._clients = ThreadPoolExecutor(16)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ONE_PROCESSOR + _PROGRAM, "serve", "--port", "0", *map(str, arguments)],
            stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        url = self.logged("listening")["url"]
        self.port = int(url.rpartition(":")[2])

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(json.loads(line))

    def logged(self, event: str, **fields: object) -> dict[str, Any]:
        """The first log line with these values."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines if {"event": event, **fields}.items() <= line.items()]

        wait_until(lambda: bool(found()) or (self._process.poll() is not None and not self._reader.is_alive()))
        assert found(), f"{event} {fields} not in {self.lines}"
        return found()[0]

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Status and answer, JSON read, of one request on its own connection."""
        status, _, content = self.exchange(path, body, headers)
        return status, json.loads(content)

    def exchange(self, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, Any, bytes]:
        """Status, headers and content."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(client):
            client.request("GET" if body is None else "POST", path, body, headers)
            answer = client.getresponse()
            return answer.status, answer.headers, answer.read()

    def later(self, path: str, body: bytes) -> Any:
        """The same on another thread."""
        return self._clients.submit(self.ask, path, body)

    def metric(self, name: str) -> float:
        """A metric without labels."""
        _, _, text = self.exchange("/metrics", None, {})
        (line,) = [line for line in text.decode().splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[1])

    def wait_for(self, name: str, value: float) -> None:
        """Until a metric has this value."""
        wait_until(lambda: self.metric(name) == value)

    def connect(self, data: bytes) -> socket.socket:
        """A connection on which this was sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        connection.sendall(data)
        return connection

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    @contextlib.contextmanager
    def decoding_stopped(self) -> Iterator[None]:
        """While the block runs no image is decoded, however fast the machine is."""
        children = self.children()
        assert children
        for child in children:
            os.kill(child, signal.SIGSTOP)
        try:
            yield
        finally:
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGCONT)

    def children(self) -> list[int]:
        """The processes that decode."""
        lists = Path(f"/proc/{self._process.pid}/task").glob("*/children")
        return [int(number) for numbers in lists for number in numbers.read_text().split()]

    def end(self, number: int = signal.SIGTERM) -> int:
        """The exit code after a signal."""
        self.send(number)
        return self._process.wait(PATIENCE_S)

    def close(self) -> None:
        self._clients.shutdown(wait=False, cancel_futures=True)
        self._stop()
        self._reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _stop(self) -> None:
        """Politely, so that its coverage is kept; the second SIGTERM waits for no requests."""
        for _ in range(2):
            if self._process.poll() is None:
                self.send(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(5)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def receive(connection: socket.socket) -> tuple[int, Any, bytes]:
    """Status, headers and content of one answer; the connection stays open."""
    answer = http.client.HTTPResponse(connection)
    with contextlib.closing(answer):
        answer.begin()
        return answer.status, answer.headers, answer.read()


def read_all(connection: socket.socket) -> bytes:
    """What comes until the connection ends, in whatever way."""
    parts = []
    with connection, contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)
