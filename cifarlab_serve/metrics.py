"""What a server counts, for Prometheus."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """The metrics of one server."""

    def __init__(self, identity: dict[str, str]) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "cifarlab_requests", "requests answered", ("path", "status"), registry=registry
        )
        self.seconds = Histogram(
            *("cifarlab_request_seconds", "from a request's first byte to its answer's last"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.batches = Histogram(
            *("cifarlab_batch_images", "images of a forward pass"),
            buckets=_BATCHES,
            registry=registry,
        )
        self.waiting = Gauge(
            "cifarlab_waiting_images", "images that wait for the network", registry=registry
        )
        info = Gauge("cifarlab_model", "the network", tuple(identity), registry=registry)
        info.labels(**identity).set(1)


class CountRequests:
    """An ASGI application around another that counts what it answers."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, and count it once it is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 499  # where nobody is left to be answered

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_see)
        finally:
            path = getattr(scope.get("route"), "path", "other")  # never what a stranger made up
            self._metrics.requests.labels(path, status).inc()
            if path == "/predict":
                self._metrics.seconds.observe(time.perf_counter() - start)
