"""Why a request gets no answer, as a status of HTTP and one line."""

import http
from typing import Any

from starlette.responses import JSONResponse

CLIENT_LEFT = 499  # as nginx logs it; nobody receives it


class RefusedError(Exception):
    """A request is not answered.

    Attributes:
        status: of HTTP.
        reason: one line for the client.
        retry_after_s: when it may be sent again; None where that is no use.

    """

    def __init__(self, status: int, reason: str, retry_after_s: int | None = None) -> None:
        super().__init__(status, reason, retry_after_s)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s

    def response(self) -> JSONResponse:
        """`{"error": reason}`, the form that the Open Inference Protocol gives errors."""
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return JSONResponse({"error": self.reason}, self.status, headers)


def bad_request(where: str, found: object, expected: str) -> RefusedError:
    """A refusal with 400: a value of the request is not what it should be."""
    shown = repr(found)
    return RefusedError(http.HTTPStatus.BAD_REQUEST, f"{where}: found {shown[:80]}, expected {expected}")


def check_names(where: str, found: Any, known: tuple[str, ...]) -> None:
    """Refuse names that mean nothing here, which would otherwise be ignored.

    Raises:
        RefusedError: one is unknown.

    """
    for name in found:
        if name not in known:
            raise bad_request(where, name, f"one of {', '.join(known)}")
