"""The service under load on this machine: `python benchmarks/serve.py MODEL FOLDER [--requests 50000]`.

Throughput beside that of `tl-infer`, the delay of answers at half and at four times that rate, and memory over many
requests. Requests of a rate are sent when they are due, whether or not earlier ones are answered, and their delay
counts from then. The client is one process beside the service, on the same processors, and takes some of their time.
"""

import argparse
import asyncio
import dataclasses
import itertools
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

TL_INFER = [sys.executable, "-m", "tl_infer"]
IN_FLIGHT = 16  # requests at once for the throughput: enough for every thread to find the next one
REPORTS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Answered:
    """One request: its status, and seconds from when it was due."""

    status: int
    seconds: float


class Client:
    """Connections that are used again."""

    def __init__(self, port: int, images: list[bytes]) -> None:
        self._port = port
        self._images = itertools.cycle(images)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, due: float) -> Answered:
        """Send the next image."""
        reader, writer = self._open() or await asyncio.open_connection("127.0.0.1", self._port)
        image = next(self._images)
        writer.write(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(image) + image)
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = re.findall(rb"content-length: (\d+)", head.lower())
        await reader.readexactly(int(length))
        if b"connection: close" in head.lower():
            writer.close()
        else:
            self._idle.append((reader, writer))
        return Answered(int(head[9:12]), time.perf_counter() - due)

    def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection that is not used and that the service has not closed meanwhile."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return None

    async def flood(self, requests: int) -> list[Answered]:
        """All requests, a few at a time."""
        numbers = iter(range(requests))

        async def worker() -> list[Answered]:
            return [await self.ask(time.perf_counter()) for _ in numbers]

        return [answer for answers in await asyncio.gather(*(worker() for _ in range(IN_FLIGHT))) for answer in answers]

    async def at_rate(self, per_second: float, seconds: float) -> list[Answered]:
        """Requests at their times."""
        started, tasks = time.perf_counter(), []
        for number in range(int(per_second * seconds)):
            due = started + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(self.ask(due)))
        return await asyncio.gather(*tasks)


class Service:
    """The service as a process."""

    def __init__(self, model: Path) -> None:
        self._process = subprocess.Popen(
            [*TL_INFER, "serve", str(model), "--port", "0", "--max-connections", "5000"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        if '"listening"' not in line:
            raise SystemExit(line)
        self.port = int(json.loads(line)["url"].rpartition(":")[2])
        # Nobody needs the other lines, but somebody must read them.
        self._drain = subprocess.Popen(["/bin/cat"], stdin=self._process.stderr, stdout=subprocess.DEVNULL)

    def megabytes(self) -> float:
        """Of the service and the processes that decode; memory that they share is counted once."""
        return sum(map(_proportional_mb, (self._process.pid, *_children(self._process.pid))))

    def stop(self) -> None:
        """Stop it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        self._drain.wait()


def _children(process: int) -> Iterator[int]:
    for numbers in Path(f"/proc/{process}/task").glob("*/children"):
        yield from map(int, numbers.read_text().split())


def _proportional_mb(process: int) -> float:
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    (kilobytes,) = re.findall(r"^Pss: +(\d+) kB", text, re.MULTILINE)
    return int(kilobytes) / 1024


def folder_rate(model: Path, folder: Path) -> float:
    """Images/s of `tl-infer` on the folder, as it says itself."""
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(
            [*TL_INFER, str(model), str(folder), "--out", f"{place}/r.csv"],
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
    (rate,) = re.findall(r"([\d.]+) images/s", done.stderr)
    return float(rate)


def show(name: str, answers: list[Answered]) -> None:
    """A row of the table."""
    seconds = [answer.seconds for answer in answers if answer.status == 200]
    busy = sum(answer.status == 503 for answer in answers)
    others = len(answers) - len(seconds) - busy
    p50, p99 = np.percentile(seconds, (50, 99)) * 1000 if seconds else (np.nan, np.nan)
    print(f"| {name} | {len(answers)} | {len(seconds)} | {busy} | {others} | {p50:.0f} | {p99:.0f} |", flush=True)


async def measure(service: Service, client: Client, capacity: float, options: argparse.Namespace) -> None:
    """Everything but the throughput."""
    print(
        "| requests | sent | answered | 503 | others | p50, ms | p99, ms |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    for share, name in ((0.5, "half the capacity"), (4.0, "four times the capacity")):
        show(f"{name}, {share * capacity:.0f}/s", await client.at_rate(share * capacity, options.seconds))
    sizes = [service.megabytes()]
    for _ in range(REPORTS):
        await client.flood(options.requests // REPORTS)
        sizes.append(service.megabytes())
    shown = ", ".join(f"{size:.0f}" for size in sizes)
    print(f"\nMB before and after each fifth of {options.requests} requests: {shown}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--requests", type=int, default=50_000, help="for the memory")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each rate")
    options = parser.parse_args()
    images = [path.read_bytes() for path in sorted(options.folder.rglob("*")) if path.is_file()][:2000]
    rate = folder_rate(options.model, options.folder)
    service = Service(options.model)
    try:
        with asyncio.Runner() as runner:
            client = Client(service.port, images)
            runner.run(client.flood(4 * IN_FLIGHT))  # every process has started
            started = time.perf_counter()
            answers = runner.run(client.flood(max(len(images), 500)))
            capacity = len(answers) / (time.perf_counter() - started)
            print(
                f"tl-infer {rate:.1f} images/s, the service {capacity:.1f}, {capacity / rate:.2f} of it\n", flush=True
            )
            runner.run(measure(service, client, capacity, options))
    finally:
        service.stop()


if __name__ == "__main__":
    main()
