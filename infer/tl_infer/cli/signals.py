"""SIGINT and SIGTERM from the first moment of a program on.

While a library is imported an exception cannot carry a signal: it comes out as a failed import, or ends the process by
SIGABRT. So nothing but this module is imported before the handlers are there, and until the work begins, when there is
nothing to clean up, they end the process themselves.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    Handler = Callable[[int, FrameType | None], Any]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WORDS = {signal.SIGINT: b"Interrupted.\n", signal.SIGTERM: b"Terminated.\n"}
_RETRY_S = 0.05


def end_at_once() -> None:
    """From now on a signal ends the process, with exit code 130 or 143; one that is ignored stays ignored."""
    handle(_end)


def handle(handler: Handler) -> dict[signal.Signals, Any]:
    """Call `handler` on SIGINT and SIGTERM, unless they are ignored; returns what handled them before."""
    handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in handled}


def after_imports(handler: Handler) -> Handler:
    """A handler that waits for an import that is under way, and may therefore raise."""

    def later(number: int, frame: FrameType | None) -> None:
        if _is_importing(frame) and hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, lambda _, then: later(number, then))
            signal.setitimer(signal.ITIMER_REAL, _RETRY_S)
        else:
            handler(number, frame)

    return later


def _end(number: int, _frame: FrameType | None) -> None:
    try:
        os.write(2, _WORDS[signal.Signals(number)])
    finally:
        os._exit(128 + number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
