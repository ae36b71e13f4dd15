"""What `/metrics` tells Prometheus. No label has a value that clients choose freely."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE

from tl_infer.results import Classification
from tl_infer.serve.models import Model, Reload

__all__ = ["CONTENT_TYPE", "Metrics"]

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter(
            "tl_requests", "Requests by route and status.", ["route", "status"], registry=registry
        )  # fmt: skip
        self._seconds = Histogram(
            "tl_request_seconds", "From the head of a request to its answer.", ["route"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._images = Counter(
            "tl_images", "Images by model and outcome: label, unsure, unfamiliar or error.", ["model", "outcome"],
            registry=registry,
        )  # fmt: skip
        self._reloads = Counter(
            "tl_reloads", "Model files read again, by outcome.", ["model", "outcome"], registry=registry
        )  # fmt: skip
        self._info = Gauge(
            "tl_model_info", "1 for each model that answers.", ["model", "sha256"], registry=registry
        )  # fmt: skip

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Show a value that is asked for whenever somebody looks."""
        Gauge(name, about, registry=self._registry).set_function(value)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def image(self, model: str, answer: Classification | None) -> None:
        """Count an image; None is one that could not be classified."""
        outcome = "error" if answer is None else answer.reason or "label"
        self._images.labels(model, outcome).inc()

    def reload(self, reload: Reload) -> None:
        """Count a file that was read again."""
        self._reloads.labels(reload.name, reload.outcome).inc()

    def models(self, models: tuple[Model, ...]) -> None:
        """Say which models answer."""
        self._info.clear()
        for model in models:
            self._info.labels(model.name, model.classifier.sha256).set(1)

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self._registry)
