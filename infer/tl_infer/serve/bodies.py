"""The bodies of requests: bounded in size, time and number, in memory only and never kept."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from tl_infer.serve.refusals import CLIENT_LEFT, RefusedError

MAX_PARTS = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Upload:
    """An image as it was sent, with the name that the client gave it."""

    name: str
    data: bytes


class Bodies:
    """Reads bodies; knows how much all of them take together."""

    def __init__(self, max_bytes: int, max_held_bytes: int, timeout_s: float) -> None:
        self._max_bytes, self._max_held_bytes, self._timeout_s = max_bytes, max_held_bytes, timeout_s
        self.held_bytes = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, counted as held until the block ends.

        Raises:
            RefusedError: 413 too large, 408 too slow, 503 no memory for it now, 400 no length that makes sense; or the
                client has left.

        """
        declared = request.headers.get("content-length", "0")
        if int(declared) > self._max_bytes:  # digits, or the server has refused it
            raise RefusedError(413, f"{declared} bytes, the limit is {self._max_bytes}")
        share = _Share()
        try:
            yield await self._received(request, share)
        finally:
            self.held_bytes -= share.count

    async def _received(self, request: Request, share: "_Share") -> bytes:
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(self._timeout_s):
                async for chunk in request.stream():
                    share.count += len(chunk)
                    self.held_bytes += len(chunk)
                    if share.count > self._max_bytes:
                        raise RefusedError(413, f"more than {self._max_bytes} bytes, the limit")
                    if self.held_bytes > self._max_held_bytes:
                        raise RefusedError(503, "too many large requests at once, try again later", 1)
                    chunks.append(chunk)
        except TimeoutError as error:
            reason = f"{share.count} bytes came in {self._timeout_s:g} s, the limit, and not the end"
            raise RefusedError(408, reason) from error
        except ClientDisconnect as error:
            raise RefusedError(CLIENT_LEFT, "the client has left") from error
        return b"".join(chunks)


@dataclasses.dataclass(slots=True)
class _Share:
    """How many bytes one request holds."""

    count: int = 0


async def uploads_of(content_type: str, body: bytes) -> list[Upload] | None:
    """The files of a multipart body; None if it is no such body.

    Raises:
        RefusedError: it is damaged, has no file, or a field that is no file.

    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return None
    return await asyncio.to_thread(_parsed, options, body)  # a body can be made so that this takes long


def _parsed(options: dict[bytes, bytes], body: bytes) -> list[Upload]:
    if not options.get(b"boundary"):
        raise RefusedError(400, "multipart/form-data without a boundary")
    parts = _Parts()
    try:
        parser = MultipartParser(options[b"boundary"], parts.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise RefusedError(400, "the multipart body is damaged") from error
    if not parts.ended:
        raise RefusedError(400, "the multipart body is cut short")
    if not parts.found:
        raise RefusedError(400, "no file in the multipart body")
    return parts.found


class _Parts:
    """What a parser calls."""

    def __init__(self) -> None:
        self.found: list[Upload] = []
        self.ended = False
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value, self._data = b"", b"", bytearray()

    def callbacks(self) -> Any:
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "end")
        return {f"on_{name}": getattr(self, f"_on_{name}") for name in names}

    def _on_part_begin(self) -> None:
        if len(self.found) == MAX_PARTS:
            raise RefusedError(413, f"more than {MAX_PARTS} files in one request, the limit")
        self._headers, self._data = {}, bytearray()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end].lower()

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._name] = self._value
        self._name = self._value = b""

    def _on_part_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            raise RefusedError(400, f"field {field[:80]!r} is no file; options belong into the query")
        name = options[b"filename"].decode("utf-8", "replace")
        self.found.append(Upload(name or field, bytes(self._data)))

    def _on_end(self) -> None:
        self.ended = True
