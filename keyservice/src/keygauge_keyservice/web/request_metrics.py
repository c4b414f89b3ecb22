"""Metrics of the key service's own requests."""

from __future__ import annotations

from time import perf_counter

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram

from keygauge.call import UNMATCHED
from keygauge.metrics import label
from keygauge.service_metrics import SERVICE_DURATION, SERVICE_REQUESTS

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class RequestMetrics:
    """The request counter and duration histogram of an app."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            SERVICE_REQUESTS.prometheus_name,
            SERVICE_REQUESTS.description,
            [label(attribute) for attribute in SERVICE_REQUESTS.attributes],
            registry=registry,
        )
        self._duration = Histogram(
            SERVICE_DURATION.prometheus_name,
            SERVICE_DURATION.description,
            [label(attribute) for attribute in SERVICE_DURATION.attributes],
            buckets=SERVICE_DURATION.buckets,
            registry=registry,
        )

    def watch(self, app: Flask) -> None:
        """Record every request of an app from now on."""
        app.before_request(_start)
        app.after_request(self._count_response)

    def _count_response(self, response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else UNMATCHED  # never the path, which anyone can make up
        method = request.method if request.method in _METHODS else "_OTHER"
        self.count(route, method, response.status_code, perf_counter() - g.started_s)
        return response

    def count(self, route: str, method: str, status: int, duration_s: float) -> None:
        """Record one request."""
        self._requests.labels(route, method, str(status)).inc()
        self._duration.labels(route).observe(duration_s)


def _start() -> None:
    g.started_s = perf_counter()
