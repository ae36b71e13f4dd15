"""The service from its start to its end: models opened, requests answered, files read again, a clean stop."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
from collections.abc import Iterator

import uvicorn

from tl_infer.errors import TlError, first_line
from tl_infer.results import Result
from tl_infer.serve.application import make_application
from tl_infer.serve.connections import limited
from tl_infer.serve.logs import log, log_error, start_logging
from tl_infer.serve.metrics import Metrics
from tl_infer.serve.models import Models
from tl_infer.serve.settings import Settings
from tl_infer.serve.work import Work
from tl_infer.system.parallel import available_threads

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_KEEP_ALIVE_S = 5


class ListenError(TlError, OSError):
    """The service cannot listen where it should."""


def serve(settings: Settings) -> None:
    """Answer requests until SIGTERM or SIGINT; SIGHUP reads the model files again.

    Raises:
        TlError: a model cannot be opened, or nobody can listen there.

    """
    start_logging()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    with contextlib.closing(listen(settings)) as listener:
        models = Models(settings.models, settings.limits)
        threads = settings.threads or available_threads()
        # While another process decodes, a thread only waits.
        work: Work[Result] = Work(2 * threads if settings.limits.isolate else threads, settings.queue)
        try:
            asyncio.run(_serve(settings, models, work, listener))
        finally:
            work.close()
            models.close()
    log("stopped")


def listen(settings: Settings) -> socket.socket:
    """A socket, before the models are opened: who cannot listen need not wait for them."""
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((settings.host, settings.port), family=family)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0
        # Python adds the address to the system's words; a name that is not known has a number of its own.
        reason = os.strerror(number) if number in errno.errorcode else first_line(error)
        raise ListenError(f"{settings.host}:{settings.port}: cannot listen there: {reason}") from error
    # asyncio does this for sockets that it makes itself; what is accepted inherits it. Without it the body of an
    # answer, sent after the head, waits until the client acknowledges the head: 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def _serve(settings: Settings, models: Models, work: Work[Result], listener: socket.socket) -> None:
    metrics = Metrics()
    server = _Server(
        uvicorn.Config(
            make_application(settings, models, work, metrics),
            http=limited(settings.max_connections, settings.header_timeout_s, settings.body_timeout_s),
            ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False, server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S, timeout_graceful_shutdown=max(1, round(settings.stop_timeout_s)),
        )
    )  # fmt: skip
    reloading = _Reloading(models, metrics)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reloading.start)
    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, server.stop)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    about = {
        model.name: {"version": model.version, "max_difference": model.tested.max_difference} for model in models.all()
    }
    log("listening", url=f"http://{shown}:{port}", models=about)
    await server.serve([listener])
    await reloading.end()


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to us: ours are not raised again once the server has stopped."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Stop when all requests are answered; the second time without them."""
        log("stopping")
        self.force_exit = self.should_exit
        self.should_exit = True


class _Reloading:
    """Reads the model files again, beside the requests, one time after the other."""

    def __init__(self, models: Models, metrics: Metrics) -> None:
        self._models, self._metrics = models, metrics
        self._again = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Read them now, or again if they are being read: they may have changed since."""
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._reload())

    async def end(self) -> None:
        """Wait for what is under way."""
        self._again = False
        if self._task is not None:
            await self._task

    async def _reload(self) -> None:
        while self._again:
            self._again = False
            for reload in await asyncio.to_thread(self._models.reload):
                write = log if reload.error is None else log_error
                write("reload", model=reload.name, version=reload.version, outcome=reload.outcome, error=reload.error)
                self._metrics.reload(reload)
            self._metrics.models(self._models.all())
