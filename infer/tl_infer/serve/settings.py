"""What the service is told: where it listens, and what it takes from its clients."""

import dataclasses
from pathlib import Path

from tl_infer.limits import Limits
from tl_infer.text.safetext import is_unicode


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The service, as its command line says.

    Attributes:
        models: model files; each is called by its file name without the suffix.
        host, port: where to listen; port 0 takes a free one.
        threads: processors to use; None for all that the process may use.
        limits: what decoding an image may take.
        queue: how many images may wait; a request beyond that is answered with 503.
        max_request_bytes: size of the body of a request.
        max_held_bytes: of the bodies of all requests together; a request beyond that is answered with 503.
        max_connections: how many clients may be connected.
        header_timeout_s: how long a client may take to send the head of a request.
        body_timeout_s: how long it may take to send the body, or to read the answer.
        answer_timeout_s: how long an answer may take once the request is there; after that it is 503.
        stop_timeout_s: how long requests that are under way are waited for when the service is stopped.

    Raises:
        ValueError: a value is out of range, or two models have one name; the message begins with the field's name.

    """

    models: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    threads: int | None = None
    limits: Limits = dataclasses.field(default_factory=lambda: Limits(isolate=True))
    queue: int = 64
    max_request_bytes: int = 20_000_000
    max_held_bytes: int = 500_000_000
    max_connections: int = 500
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    answer_timeout_s: float = 30.0
    stop_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("queue", "max_request_bytes", "max_held_bytes", "max_connections"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: found {getattr(self, name)}, expected 1 or more")
        for name in ("header_timeout_s", "body_timeout_s", "answer_timeout_s", "stop_timeout_s"):
            if not getattr(self, name) > 0:  # NaN fails this too
                raise ValueError(f"{name}: found {getattr(self, name)}, expected above 0")
        if self.max_held_bytes < self.max_request_bytes:
            raise ValueError(f"max_held_bytes: found {self.max_held_bytes}, less than one request may have")
        if not self.models:
            raise ValueError("models: found none, expected one or more model files")
        names = [path.stem for path in self.models]
        for name in names:
            if not is_unicode(name):
                raise ValueError(
                    f"models: the name of '{name}' is not UTF-8; rename it, since clients ask by that name"
                )
            if names.count(name) > 1:
                raise ValueError(f"models: two files are called '{name}'; rename one, since clients ask by that name")
