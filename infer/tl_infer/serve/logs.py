"""Log lines: a JSON object each, on standard error. Nothing of an image is ever in one."""

import datetime
import json
import logging
import sys

_ATTRIBUTE = "fields"


class _JsonLines(logging.Formatter):
    """One object per line, ASCII, so that nothing that a client sent can end a line or control a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        values: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, _ATTRIBUTE, {}),
        }
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return json.dumps(values)


_log = logging.getLogger("tl_infer.serve")


def start_logging() -> None:
    """Write what the service and the libraries have to say to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.getLogger().handlers = [handler]  # which shows warnings and errors
    _log.setLevel(logging.INFO)
    # What it has to say is in the refusal of the request.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def log(event: str, **fields: object) -> None:
    """Write a line; fields that are None are left out."""
    _write(logging.INFO, event, fields)


def log_error(event: str, **fields: object) -> None:
    """Write a line about something that somebody should look at."""
    _write(logging.ERROR, event, fields)


def _write(level: int, event: str, fields: dict[str, object]) -> None:
    given = {name: value for name, value in fields.items() if value is not None}
    _log.log(level, event, extra={_ATTRIBUTE: given})
