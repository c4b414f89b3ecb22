"""The client's address behind proxies, and warnings about servers that take it from a header before KeyGauge."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from keygauge.networks import Network, is_within

_log = logging.getLogger(__name__)

_UVICORN_ENVIRON = ("FORWARDED_ALLOW_IPS", "UVICORN_FORWARDED_ALLOW_IPS")
_UVICORN_WAY_OUT = (
    "start uvicorn with --no-proxy-headers (under gunicorn: --forwarded-allow-ips '') and name your proxies in "
    "KEYGAUGE_TRUSTED_PROXIES"
)
_UNDERSCORES = "takes X_Forwarded_For for X-Forwarded-For: let your proxy drop header names with an underscore"


def client_ip(peer: str | None, forwarded_for: str, trusted: Sequence[Network]) -> str | None:
    """Return the last address that is not a trusted proxy's; `forwarded_for` is X-Forwarded-For, nearest proxy last.

    Only trusted proxies are believed, and only about who called them, so values that a client sends are never used.
    """
    ip = peer
    for named in reversed([part.strip() for part in forwarded_for.split(",") if part.strip()]):
        if not is_within(ip, trusted):
            break
        ip = _bare(named)
    return ip


def _bare(named: str) -> str:
    """Drop the port that some proxies append: 192.0.2.1:4711, [2001:db8::1]:4711."""
    if named.startswith("["):
        return named[1:].partition("]")[0]
    return named.partition(":")[0] if named.count(":") == 1 else named


def warn_of_uvicorn(receive: Callable[..., Any], trusted: Collection[str]) -> None:
    """Warn at start-up if uvicorn trusts proxies that are not in KeyGauge's settings.

    `receive` is the lifespan's, a method of a uvicorn object that has its settings.
    """
    config = getattr(getattr(receive, "__self__", None), "config", None)
    if not getattr(config, "proxy_headers", False):
        return
    allowed = getattr(config, "forwarded_allow_ips", "")
    hosts = {host.strip() for host in (allowed.split(",") if isinstance(allowed, str) else allowed)} - {""}
    if not hosts <= set(trusted):
        _log.warning(
            "uvicorn takes the client's address from X-Forwarded-For of %s, and keys bound to networks go by it: %s",
            ",".join(sorted(hosts)),
            _UVICORN_WAY_OUT,
        )


def warn_of_underscores(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> None:
    """Warn at a process's first WSGI request if a client can forge the header that a trusted proxy sets."""
    server = str(environ.get("SERVER_SOFTWARE", "")) or getattr(start_response, "__module__", "")
    name = server.lower().partition(".")[0]
    if name in {"granian", "hypercorn"}:
        _log.warning("%s %s", name, _UNDERSCORES)


def examine(trusted: Collection[str]) -> Iterator[tuple[bool, str]]:
    """Yield findings about how the environment and the installed servers set the client's address: (is good, text)."""
    for name in _UVICORN_ENVIRON:
        if "*" in os.environ.get(name, ""):
            yield False, f"{name} is '*': every client may claim any address; {_UVICORN_WAY_OUT}"
    if find_spec("uvicorn") is not None:
        text = "uvicorn takes the client's address from X-Forwarded-For of 127.0.0.1 unless told otherwise"
        yield True, f"{text}: for keys bound to networks, {_UVICORN_WAY_OUT}"
    if trusted and find_spec("waitress") is not None:
        yield True, "waitress deletes X-Forwarded-For: start it with --no-clear-untrusted-proxy-headers"
    for server in ("granian", "hypercorn"):
        if trusted and find_spec(server) is not None:
            yield True, f"{server} with a WSGI app {_UNDERSCORES}"
