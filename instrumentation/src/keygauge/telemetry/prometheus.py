"""A metrics page per worker, on the first free port of a range that Prometheus scrapes."""

from __future__ import annotations

import logging
import re
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server

_log = logging.getLogger(__name__)
_MOST_PORTS = 1000
_range = re.compile(r"(?:(?P<host>[^\s]+):)?(?P<first>[0-9]{1,5})-(?P<last>[0-9]{1,5})", re.ASCII).fullmatch


def serve(ports: str, registry: CollectorRegistry) -> int | None:
    """Serve the page on the first free port of `[host:]first-last`; return it, or log an error and return None."""
    found = _range(ports)
    first, last = (int(found["first"]), int(found["last"])) if found else (0, 0)
    if not found or not 0 < first <= last <= min(65535, first + _MOST_PORTS):
        _log.error("KEYGAUGE_PROMETHEUS_PORTS is %r: use [host:]first-last, as in 127.0.0.1:9100-9131", ports)
        return None
    for port in range(first, last + 1):
        if _start(found["host"] or "127.0.0.1", port, registry):
            return port
    _log.error("No port in %s is free: this process serves no metrics to Prometheus", ports)
    return None


def _start(host: str, port: int, registry: Any) -> bool:
    try:
        start_http_server(port, host, registry)
    except OSError:  # another worker has it
        return False
    return True
