"""The open streams, as the heartbeat reports them: per key their number, the age of the oldest, and their messages."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from keygauge.call import Call
from keygauge.clock import MS
from keygauge.protocol import ENTRIES_MAX


def describe(streams: Collection[Call], now_ns: int) -> list[dict[str, Any]]:
    """Return the open streams per key; if there are too many keys, those with the oldest streams."""
    by_key: dict[str, list[Call]] = {}
    for call in sorted(streams, key=lambda call: call.started_ns):
        if call.account is not None:
            by_key.setdefault(call.key, []).append(call)
    return [
        {
            "key": key,
            "open": len(calls),
            "oldest_ms": max(0, now_ns - calls[0].started_ns) // MS,
            "messages": sum(call.messages for call in calls),
        }
        for key, calls in list(by_key.items())[:ENTRIES_MAX]
    ]
