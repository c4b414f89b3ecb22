"""Ninety realistic days of calls: daily and weekly rhythm, growth, a spike, errors, refusals, a mix of models."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from keygauge_demo.api.catalog import MODELS, Model
from keygauge_demo.console import DemoConsole
from keygauge_demo.customers.profiles import ACCOUNTS, Account, Key, Rhythm
from keygauge_demo.customers.seed import Seed
from keygauge_keyservice.billing import billing
from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger import ingest
from keygauge_keyservice.ledger.backfill import write_history
from keygauge_keyservice.ledger.event import Event
from keygauge_keyservice.pricing.public_prices import PublicPrices

DAYS = 90
SPOOL = "demo-history"
SPIKE_FACTOR = 9.0
SPIKE_HOURS = range(9, 13)
SPIKE_IP = "198.51.100.77"  # an address from which this key was never used before
BYTES_PER_TOKEN = 4.3
REFUSED_AFTER_US = 900
SERVER_ERRORS = 0.006  # share of calls
_ROUTES = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}

# Share of a day's calls in each UTC hour; each row's sum is about 1.
_HOURS: dict[Rhythm, tuple[float, ...]] = {
    "office": (*[0.005] * 6, 0.02, 0.05, 0.09, 0.11, 0.11, 0.09, 0.07, 0.1, 0.11, 0.09, 0.06, 0.03, *[0.01] * 6),
    "evening": (0.03, 0.02, 0.01, *[0.005] * 4, *[0.02] * 4, *[0.04] * 5, 0.06, 0.08, 0.1, 0.12, 0.13, 0.1, 0.07, 0.05),
    "night": (0.3, 0.34, 0.2, 0.08, *[0.004] * 20),
    "round_the_clock": (*[0.025] * 6, 0.035, 0.045, *[0.058] * 9, 0.05, 0.045, 0.04, *[0.03] * 4),
}
_WEEKEND: dict[Rhythm, float] = {"office": 0.25, "evening": 1.25, "night": 0.9, "round_the_clock": 0.7}
_LIMITED: dict[str, float] = {"free": 0.3, "starter": 0.07, "pro": 0.012, "vip": 0.003}  # share of calls, by plan


_CHARGE_QUOTAS = """/* history.charge_quotas */
INSERT INTO limit_state (id, account_id, head, cells, ends)
SELECT plan_limit.id || ':' || account.id, account.id, extract(epoch FROM date_trunc('month', now()))::bigint,
       ARRAY[CASE unit WHEN 'request' THEN count(*) ELSE coalesce(sum(cost_nanousd), 0)::bigint END],
       ARRAY[extract(epoch FROM date_trunc('month', now()) + interval '1 month')::bigint * 1000000]
FROM event
JOIN account ON account.id = event.account_id
JOIN plan_limit ON plan_limit.plan_id = account.plan_id AND period = 'month'
WHERE event.time >= date_trunc('month', now()) AND event.outcome = 'admitted'
GROUP BY plan_limit.id, unit, account.id
ON CONFLICT (id) DO NOTHING"""


_REOPEN = "/* history.reopen */ DELETE FROM invoice WHERE account_id = ANY(%s)"


class _Refusal(NamedTuple):
    """The reason that a call got no answer from a model."""

    status: int
    error: str
    outcome: str = "admitted"
    limit: str | None = None


_RATE_LIMITED = _Refusal(429, "rate_limited", "limited", "rpm")
_FORBIDDEN = _Refusal(403, "forbidden", "forbidden")
_BAD_REQUEST = _Refusal(400, "bad_request")
_SERVER_ERROR = _Refusal(500, "server_error")


@dataclass(frozen=True)
class _Caller:
    """A key with the common properties of its calls."""

    key: Key
    key_id: str
    account_id: str
    limited: float
    ips: tuple[str, ...]
    models: tuple[Model, ...]
    weights: tuple[float, ...]


def load(connection: Connection, seed: Seed, *, console: DemoConsole) -> None:
    """Load the days before the seed's creation into the ledger, once, and charge this month's quotas for them."""
    events = list(compose(seed, until=seed.created_at))
    if ingest.find_cursor(connection, SPOOL) < len(events):
        text = f"Writing {DAYS} days of history, {len(events)} calls"
        write_history(connection, console.track(text, events), PublicPrices(), spool=SPOOL)
        with connection.transaction():  # a service that started meanwhile has billed what existed by then
            connection.execute(_REOPEN, (list(seed.account_ids.values()),))
            billing.close_periods(connection)
    connection.execute(_CHARGE_QUOTAS)


def compose(seed: Seed, *, until: datetime) -> Iterator[Event]:
    """Generate the events of the days before `until`, ordered by hour; the same each time."""
    chance = random.Random(DAYS)  # noqa: S311 - realistic, not secret
    callers = [
        _caller(account, key, seed, number)
        for account in ACCOUNTS
        for number, key in enumerate(account.keys)
        if key.calls_per_day
    ]
    hour = start_of(until)
    while hour < until:
        for caller in callers:
            for _ in range(_count(chance, caller.key, hour, until)):
                at = hour + timedelta(seconds=chance.random() * 3600)
                if at < until:
                    yield _event(chance, caller, at, _is_spike(caller.key, hour, until))
        hour += timedelta(hours=1)


def start_of(until: datetime) -> datetime:
    """Return the start of the history that ends at `until`."""
    return until.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS)


def _caller(account: Account, key: Key, seed: Seed, number: int) -> _Caller:
    office = sum(account.name.encode()) % 200
    return _Caller(
        key=key,
        key_id=seed.key_ids[key.name],
        account_id=seed.account_ids[key.name],
        limited=_LIMITED[account.plan],
        ips=(f"203.0.113.{office + number}", f"192.0.2.{office + number}"),
        models=tuple(MODELS[name] for name in key.models),
        weights=tuple(key.models.values()),
    )


def _count(chance: random.Random, key: Key, hour: datetime, until: datetime) -> int:
    """Draw the number of a key's calls in an hour."""
    days_ago = (until - hour) / timedelta(days=1)
    share = _HOURS[key.rhythm][hour.hour]
    weekend = _WEEKEND[key.rhythm] if hour.weekday() >= 5 else 1.0  # noqa: PLR2004 - Saturday
    grown = 1 - key.growth * min(days_ago / DAYS, 1)
    spike = SPIKE_FACTOR if _is_spike(key, hour, until) else 1.0
    expected = key.calls_per_day * share * weekend * grown * spike * chance.lognormvariate(0, 0.22)
    return int(expected + chance.random())


def _is_spike(key: Key, hour: datetime, until: datetime) -> bool:
    if key.spike_days_ago is None:
        return False
    return hour.date() == (until - timedelta(days=key.spike_days_ago)).date() and hour.hour in SPIKE_HOURS


def _event(chance: random.Random, caller: _Caller, at: datetime, spike: bool) -> Event:  # noqa: FBT001 - private
    model = chance.choices(caller.models, caller.weights)[0]
    ip = SPIKE_IP if spike and chance.random() < 0.8 else caller.ips[chance.random() < 0.2]  # noqa: PLR2004 - shares
    refusal = _refusal(chance, caller)
    event = _refused(caller, model, at, ip, refusal) if refusal else _answered(chance, caller, model, at, ip)
    return event._replace(tag=caller.key.draw_end_user(chance))


def _refusal(chance: random.Random, caller: _Caller) -> _Refusal | None:
    """Draw the reason that a call gets no answer from a model; None if it gets one."""
    draw = chance.random()
    for share, refusal in (
        (caller.limited, _RATE_LIMITED),
        (caller.key.forbidden, _FORBIDDEN),
        (caller.key.refused, _BAD_REQUEST),
        (SERVER_ERRORS, _SERVER_ERROR),
    ):
        if draw < share:
            return refusal
        draw -= share
    return None


def _refused(caller: _Caller, model: Model, at: datetime, ip: str, refusal: _Refusal) -> Event:
    reached = refusal.outcome == "admitted"
    return Event(
        time_us=int(at.timestamp() * 1_000_000),
        account=caller.account_id,
        key=caller.key_id,
        route=_ROUTES[model.provider],
        method="POST",
        status=refusal.status,
        error=refusal.error,
        ip=ip,
        duration_us=int(model.first_token_s * 1_000_000) if reached else REFUSED_AFTER_US,
        first_token_us=None,
        request_bytes=int(caller.key.prompt_tokens * BYTES_PER_TOKEN),
        response_bytes=180,
        stream=None,
        messages=0,
        model=None,
        provider=None,
        input_tokens=None,
        output_tokens=None,
        cache_read_tokens=None,
        cache_write_tokens=None,
        reasoning_tokens=None,
        usage_status="none",
        outcome=refusal.outcome,
        limit=refusal.limit,
        trace_id=None,
        details=None,
    )


def _answered(chance: random.Random, caller: _Caller, model: Model, at: datetime, ip: str) -> Event:
    streamed = chance.random() < caller.key.streamed
    input_tokens = int(caller.key.prompt_tokens * chance.lognormvariate(0, 0.5)) + 12
    visible_tokens = int(20 + 60 * chance.random())
    reasoning_tokens = round(visible_tokens * model.reasoning_share)
    output_tokens = visible_tokens + reasoning_tokens
    first_token_us = int(model.first_token_s * chance.lognormvariate(0, 0.25) * 1_000_000)
    return Event(
        time_us=int(at.timestamp() * 1_000_000),
        account=caller.account_id,
        key=caller.key_id,
        route=_ROUTES[model.provider],
        method="POST",
        status=200,
        error=None,
        ip=ip,
        duration_us=first_token_us + int(model.token_s * output_tokens * chance.lognormvariate(0, 0.15) * 1_000_000),
        first_token_us=first_token_us if streamed else None,
        request_bytes=int(input_tokens * BYTES_PER_TOKEN),
        response_bytes=int(visible_tokens * (60 if streamed else BYTES_PER_TOKEN)) + 400,
        stream="sse" if streamed else None,
        messages=visible_tokens // 3 + 3 if streamed else 0,
        model=model.id,
        provider=model.provider,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=input_tokens // 2 if input_tokens > 1024 else 0,  # noqa: PLR2004 - the shortest cached prompt
        cache_write_tokens=0,
        reasoning_tokens=reasoning_tokens,
        usage_status="reported",
        outcome="admitted",
        limit=None,
        trace_id=None,
        details=None,
    )
