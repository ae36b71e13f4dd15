"""Progress, speed and remaining time, on one line of a terminal."""

import time
from typing import TextIO

_INTERVAL_S = 0.2
_BAR = 20


class Progress:
    """A line on `stream` that is overwritten; nothing if `stream` is not a terminal."""

    def __init__(self, stream: TextIO, total: int | None, *, visible: bool) -> None:
        self._stream = stream
        self._total = total
        self._visible = visible and stream.isatty()
        self._done = 0
        self._started = self._shown = time.monotonic()

    def advance(self, files: int) -> None:
        """Count files, and update the line a few times a second."""
        self._done += files
        now = time.monotonic()
        if self._visible and now - self._shown >= _INTERVAL_S:
            self._shown = now
            width = _width()
            text = progress_text(self._done, self._total, now - self._started)
            self._stream.write(f"\r{text[:width]:<{width}}")
            self._stream.flush()

    def close(self) -> None:
        """Clear the line."""
        if self._visible:
            self._stream.write(f"\r{' ' * _width()}\r")
            self._stream.flush()


def _width() -> int:
    import shutil  # here, because most runs show no progress

    return shutil.get_terminal_size().columns - 1


def progress_text(done: int, total: int | None, seconds: float) -> str:
    """The line; without percentage and remaining time if the total is not known."""
    rate = done / seconds if seconds > 0 else 0.0
    speed = f"{rate:.1f} images/s"
    if not total:
        return f"{done:,}  {speed}"
    share = min(done / total, 1.0)
    bar = ("\u2588" * round(share * _BAR)).ljust(_BAR, "\u2591")
    left = "" if rate == 0 else f"  {_duration((total - done) / rate)} left"
    return f"{share:4.0%} {bar} {done:,}/{total:,}  {speed}{left}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
