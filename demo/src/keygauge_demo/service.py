"""The demo API with metering: everything that your own service has to add."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from keygauge.asgi import KeyGaugeMiddleware
from keygauge.telemetry.setup import TelemetryError, prometheus_text
from keygauge_demo.api.app import create_app

OPEN_PATHS = ("/docs*", "/openapi.json", "/healthz", "/metrics", "/metrics/")  # accessible without a key


def create_service() -> FastAPI:
    """Create the API, metered as configured by the `KEYGAUGE_*` environment; its metrics are at `/metrics`."""
    app = create_app()
    app.add_api_route("/metrics", show_metrics, methods=["GET"], include_in_schema=False)
    app.add_middleware(KeyGaugeMiddleware, open_paths=OPEN_PATHS)
    return app


def show_metrics(request: Request) -> Response:
    """Serve Prometheus metrics; in a thread, since thousands of series take a while to format."""
    try:
        body, content_type = prometheus_text(request.headers.get("accept", ""))
    except TelemetryError as error:  # metrics are pushed, or not kept
        return PlainTextResponse(f"{error}\n", 503)
    return Response(body, media_type=content_type)
