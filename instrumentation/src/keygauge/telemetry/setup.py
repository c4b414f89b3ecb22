"""OpenTelemetry setup from the environment, for services without their own, and the page that Prometheus scrapes.

If the service sets up its own MeterProvider, KeyGauge's metrics go there. Otherwise:

- `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`: push over OTLP; over HTTP unless
  `OTEL_EXPORTER_OTLP_PROTOCOL` is `grpc` (needs `keygauge[otlp]`);
- `KEYGAUGE_PROMETHEUS=1`: keep metrics for Prometheus to scrape (needs `keygauge[prometheus]`), see `prometheus_app`;
- `KEYGAUGE_PROMETHEUS_PORTS=127.0.0.1:9100-9131`: the same, and each worker serves its page on a free port of these.

`OTEL_METRICS_EXPORTER` (`otlp`, `prometheus`, `console`, `none`, or a list) selects exporters; `OTEL_SDK_DISABLED=true`
disables all. OpenTelemetry's SDK reads its own variables for interval, headers, timeouts, temporality and resource.

Call `configure` after a fork, once per worker: each worker has its own `service.instance.id`. If several workers share
one address, Prometheus gets a different worker at each scrape; push instead, or give each worker a port.
"""

from __future__ import annotations

import asyncio
import gzip
import importlib
import logging
import os
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import MeterProvider, NoOpMeterProvider, get_meter_provider

from keygauge.telemetry.aggregator import HOST_SERIES, SERIES

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader
    from prometheus_client import CollectorRegistry

_log = logging.getLogger(__name__)
_OTLP_ENDPOINTS = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OVER_HTTP, _OVER_GRPC = "http/protobuf", "grpc"
_EXPORTERS = ("otlp", "prometheus", "console", "none")
_NOT_SET_UP = b"KeyGauge shows no metrics here: set KEYGAUGE_PROMETHEUS=1, and no MeterProvider of your own\n"
_TEXT = "text/plain; charset=utf-8"

_Message = MutableMapping[str, Any]
_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class TelemetryError(RuntimeError):
    """The metrics export that the environment selects is not available."""


class _Page:
    """The registry of this process's metrics page; a child process has none until it is configured itself."""

    registry: CollectorRegistry | None = None
    pid = 0


def configure() -> MeterProvider | None:
    """Return the provider for KeyGauge's meter: the service's own, one set up from the environment, or None.

    None means that nothing is selected yet: `opentelemetry.metrics.get_meter_provider()` forwards to a provider that is
    set later.

    Raises:
        TelemetryError: a selected exporter is not installed, or the OTLP protocol is unknown.
    """
    if provider := host_provider():
        return provider
    if unknown := set(_exporters()).difference(_EXPORTERS):
        _log.warning("OTEL_METRICS_EXPORTER has %r, which is ignored: use %s", min(unknown), ", ".join(_EXPORTERS))
    readers = []
    if _is_push_configured():
        readers.append(_push_reader(_otlp_exporter()()))
    if _is_console_configured():
        readers.append(_push_reader(_console_exporter()()))
    if _is_pull_configured():
        readers.append(_prometheus_reader())
    if (ports := os.environ.get("KEYGAUGE_PROMETHEUS_PORTS")) and readers:
        _import("keygauge.telemetry.prometheus", "prometheus").serve(ports, _Page.registry)
    return _own_provider(readers) if readers else None


def check() -> list[str]:
    """Return the exporters that the environment selects (`otlp`, `console`, `prometheus`) without starting them.

    Raises:
        TelemetryError: one of them is not installed, or the OTLP protocol is unknown.
    """
    found = []
    if _is_push_configured():
        _otlp_exporter()
        found.append("otlp")
    if _is_console_configured():
        _console_exporter()
        found.append("console")
    if _is_pull_configured():
        _import("opentelemetry.exporter.prometheus", "prometheus")
        found.append("prometheus")
    return found


def max_series(provider: MeterProvider | None) -> int:
    """Return how many series an instrument can have before the SDK folds them, for `Aggregator`."""
    return SERIES if provider is not None and provider is not host_provider() else HOST_SERIES


def prometheus_text(accept: str = "") -> tuple[bytes, str]:
    """Return the page that Prometheus scrapes and its content type, negotiated by the request's Accept header.

    Raises:
        TelemetryError: this process keeps no metrics for Prometheus.
    """
    if _Page.registry is None or _Page.pid != os.getpid():
        raise TelemetryError(_NOT_SET_UP.decode().strip())
    encode, content_type = _import("prometheus_client.exposition", "prometheus").choose_encoder(accept)
    return encode(_Page.registry), content_type


def prometheus_app() -> Callable[[_Scope, _Receive, _Send], Awaitable[None]]:
    """Return an ASGI app that serves `prometheus_text`; mount it, for example at /metrics."""
    return _answer


async def _answer(scope: _Scope, receive: _Receive, send: _Send) -> None:
    if scope["type"] != "http":
        raise TelemetryError(f"The metrics page only supports HTTP, not {scope['type']}")
    accept = _header(scope, b"accept")
    is_gzip = "gzip" in _header(scope, b"accept-encoding")
    # Formatting thousands of series takes too long for the event loop.
    status, headers, body = await asyncio.to_thread(_page, accept, is_gzip=is_gzip)
    headers.append((b"content-length", str(len(body)).encode()))
    await receive()
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _page(accept: str, *, is_gzip: bool) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    try:
        body, content_type = prometheus_text(accept)
    except TelemetryError:
        return 503, [(b"content-type", _TEXT.encode())], _NOT_SET_UP
    headers = [(b"content-type", content_type.encode()), (b"vary", b"Accept, Accept-Encoding")]
    if is_gzip:
        headers.append((b"content-encoding", b"gzip"))
        body = gzip.compress(body, compresslevel=1)
    return 200, headers, body


def _header(scope: _Scope, wanted: bytes) -> str:
    return b",".join(value for name, value in scope["headers"] if name.lower() == wanted).decode("latin-1")


def host_provider() -> MeterProvider | None:
    """Return the provider that the service itself set up, or None."""
    provider = get_meter_provider()
    # The proxy for a provider not yet set has no public name.
    is_stand_in = type(provider).__name__ == "_ProxyMeterProvider" or isinstance(provider, NoOpMeterProvider)
    return None if is_stand_in else provider


def _is_push_configured() -> bool:
    """Return whether to push over OTLP; if `otlp` is selected by name, no endpoint is needed: the SDK has a default."""
    exporters = _exporters()
    is_chosen = "otlp" in exporters or (not exporters and any(os.environ.get(name) for name in _OTLP_ENDPOINTS))
    return not _is_disabled() and is_chosen


def _is_console_configured() -> bool:
    return not _is_disabled() and "console" in _exporters()


def _is_pull_configured() -> bool:
    is_chosen = os.environ.get("KEYGAUGE_PROMETHEUS") == "1" or "prometheus" in _exporters()
    return not _is_disabled() and (is_chosen or bool(os.environ.get("KEYGAUGE_PROMETHEUS_PORTS")))


def _is_disabled() -> bool:
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _exporters() -> tuple[str, ...]:
    """Return the exporters named in OTEL_METRICS_EXPORTER, in any case; empty if unset."""
    return tuple(filter(None, map(str.strip, os.environ.get("OTEL_METRICS_EXPORTER", "").lower().split(","))))


def _own_provider(readers: list[MetricReader]) -> MeterProvider:
    sdk = _import("opentelemetry.sdk.metrics", "sdk")
    resources = _import("opentelemetry.sdk.resources", "sdk")
    # Set here, it overrides OTEL_RESOURCE_ATTRIBUTES, which all workers share.
    resource = resources.Resource.create({"service.instance.id": str(uuid.uuid4())})
    provider: MeterProvider = sdk.MeterProvider(metric_readers=readers, resource=resource)
    return provider


def _push_reader(exporter: MetricExporter) -> MetricReader:
    reader: MetricReader = _import("keygauge.telemetry.push", "sdk").PushReader(exporter, _limits())
    return reader


def _otlp_exporter() -> Callable[[], MetricExporter]:
    """Return the exporter class for the selected protocol; it reads its other settings itself."""
    protocol = next(filter(None, (os.environ.get(name, "").strip().lower() for name in _PROTOCOLS)), _OVER_HTTP)
    if protocol not in {_OVER_HTTP, _OVER_GRPC}:
        raise TelemetryError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}: use {_OVER_HTTP} or {_OVER_GRPC}")
    name = protocol.partition("/")[0]
    extra = "otlp" if protocol == _OVER_HTTP else "opentelemetry-exporter-otlp-proto-grpc"
    exporter: Callable[[], MetricExporter] = _import(
        f"opentelemetry.exporter.otlp.proto.{name}.metric_exporter", extra
    ).OTLPMetricExporter
    return exporter


def _console_exporter() -> Callable[[], MetricExporter]:
    exporter: Callable[[], MetricExporter] = _import("opentelemetry.sdk.metrics.export", "sdk").ConsoleMetricExporter
    return exporter


def _prometheus_reader() -> MetricReader:
    exporter = _import("opentelemetry.exporter.prometheus", "prometheus")
    registry = _import("prometheus_client", "prometheus").CollectorRegistry()
    reader: MetricReader = exporter.PrometheusMetricReader(
        scope_info_enabled=False, registry=registry, cardinality_limits=_limits()
    )
    _Page.registry, _Page.pid = registry, os.getpid()
    return reader


def _limits() -> dict[Any, int]:
    sdk = _import("opentelemetry.sdk.metrics", "sdk")
    # Our own folding stays below this; the SDK's default of 2000 would fold keys into otel.metric.overflow.
    return dict.fromkeys((sdk.Counter, sdk.ObservableCounter, sdk.ObservableUpDownCounter, sdk.Histogram), SERIES)


def _import(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise TelemetryError(
            f"{error.name or name} is not installed: install {extra if '-' in extra else f'keygauge[{extra}]'}"
        ) from error
