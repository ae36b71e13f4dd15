"""Connections of clients that say nothing, or read nothing, end after a while; uvicorn waits for them for ever."""

import asyncio
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: application/json\r\nContent-Length: 33\r\n"
    b'Connection: close\r\n\r\n{"error": "too many connections"}'
)


class Connection(H11Protocol):
    """One connection, with limits on their number and on the time of their clients; see `limited`."""

    max_connections: ClassVar[int]
    header_timeout_s: ClassVar[float]
    body_timeout_s: ClassVar[float]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._header_timer: asyncio.TimerHandle | None = None
        self._reading_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the head of a request, but not for ever."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.write(_BUSY)
            transport.close()
        else:
            self._watch_header()

    def data_received(self, data: bytes) -> None:
        """Take data; what is not yet a whole head has its time, however slowly it comes."""
        super().data_received(data)
        self._watch_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._unwatch_header()
        self._unwatch_reading()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """More waits to be sent than fits: a client that goes on asking has to read the answers, too."""
        super().pause_writing()
        self._reading_timer = self.loop.call_later(self.body_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read most of it."""
        self._unwatch_reading()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that is not used; of a client that does not read its answer, too."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(self.body_timeout_s, self.transport.abort)

    def _watch_header(self) -> None:
        is_waiting = self.cycle is None or self.cycle.response_complete
        if not is_waiting:
            self._unwatch_header()
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(self.header_timeout_s, self.transport.abort)

    def _unwatch_header(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _unwatch_reading(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None


def limited(max_connections: int, header_timeout_s: float, body_timeout_s: float) -> type[Connection]:
    """The class of connections with these limits, as uvicorn takes it.

    Args:
        max_connections: a further client is told to come back later.
        header_timeout_s: from connecting, or from the first byte of a further request, to the end of its head.
        body_timeout_s: how long a client may take to read the answers that wait for it.

    """
    limits = {
        "max_connections": max_connections, "header_timeout_s": header_timeout_s, "body_timeout_s": body_timeout_s
    }  # fmt: skip
    return cast("type[Connection]", type("LimitedConnection", (Connection,), limits))
