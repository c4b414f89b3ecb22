"""Spikes: keys with far more requests in the last hour than in their average hour of the past week."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from keygauge.warning_levels import SPIKE_FACTOR, SPIKE_REQUESTS
from keygauge_keyservice.database import Connection
from keygauge_keyservice.keys import keys
from keygauge_keyservice.usage import usage

_HOUR, _DAY, _WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
_KEYS_MAX = 100  # per account: those with the most requests


@dataclass(frozen=True)
class Spike:
    """A key that is used far more than usual."""

    key_id: str
    key_name: str
    requests: int  # in the last hour
    usual: float  # requests per hour, on average over the past week or since the key was created


def find(connection: Connection, account_id: str, *, now: datetime) -> list[Spike]:
    """Return an account's keys with a spike, most requests first. Keys younger than a day have no usual use yet."""
    _, end = usage.quarters(now - _HOUR, now)
    start = end - _HOUR
    selection: usage.Selection = {"account_id": account_id, "start": start, "end": end}
    busy = usage.top(connection, by="key", most=_KEYS_MAX, least=SPIKE_REQUESTS, **selection).parts
    if not busy:
        return []
    known = {
        key.id: key
        for key in keys.find_many(connection, account_id, [part.group for part in busy])
        if key.status != "deleted" and key.created_at <= now - _DAY
    }
    week: usage.Selection = {"account_id": account_id, "start": start - _WEEK, "end": start}
    before = {part.group: part.requests for part in usage.breakdown(connection, by="key", only=list(known), **week)}
    spikes = []
    for part in busy:
        if (key := known.get(part.group)) is not None:
            usual = before.get(key.id, 0) / (min(_WEEK, start - key.created_at) / _HOUR)
            if part.requests > SPIKE_FACTOR * usual:
                spikes.append(Spike(key.id, key.name, part.requests, usual))
    return spikes
