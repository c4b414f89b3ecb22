"""The client's address behind proxies: what they forward counts only where they are named as trusted."""

from __future__ import annotations

from collections.abc import Sequence

from keygauge.networks import Network, is_within


def client_ip(peer: str | None, forwarded_for: str, trusted: Sequence[Network]) -> str | None:
    """Return the last address that no trusted proxy has; `forwarded_for` is X-Forwarded-For, nearest proxy last.

    Only a trusted proxy's word is taken, and only about who called it: what a client writes itself is never reached.
    """
    ip = peer
    for named in reversed([part.strip() for part in forwarded_for.split(",") if part.strip()]):
        if not is_within(ip, trusted):
            break
        ip = _bare(named)
    return ip


def _bare(named: str) -> str:
    """Drop the port that some proxies add: 192.0.2.1:4711, [2001:db8::1]:4711."""
    if named.startswith("["):
        return named[1:].partition("]")[0]
    return named.partition(":")[0] if named.count(":") == 1 else named
