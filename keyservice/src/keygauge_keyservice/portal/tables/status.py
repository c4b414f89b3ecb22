"""The account's status as CSV and JSON: current rates, quotas, and what needs attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response

from keygauge_keyservice.database import Connection
from keygauge_keyservice.portal import alerts, auth
from keygauge_keyservice.usage import quota
from keygauge_keyservice.usage.live_rates import find_live_rates
from keygauge_keyservice.web import export
from keygauge_keyservice.web.context import services

blueprint = Blueprint("status", __name__)

_MINUTE_S = 60
_NAMES = {
    "now": (
        *("unit", "window_s", "used", "remaining", "amount", "name", "route", "model", "tool", "dry_run", "unit_name"),
        "smooth",
    ),
    "quotas": (
        *("name", "unit", "period", "anchor", "zone", "key_id", "route", "model", "tool", "amount", "used"),
        *("reserved", "remaining", "counted", "credit_nanousd", "unit_name", "resets_at", "dry_run"),
    ),
    "attention": ("kind", "key_id", "text", "address"),
}


@blueprint.get("/<any(now, quotas, attention):kind>.csv")
def export_csv(kind: str) -> Response:
    """Return one of the overview's tables as CSV."""
    return export.as_csv(kind, _NAMES[kind], (list(row.values()) for row in _rows(kind)))


@blueprint.get("/<any(now, quotas, attention):kind>.json")
def export_json(kind: str) -> Response:
    """Return one of the overview's tables as JSON."""
    return export.as_json(kind, _rows(kind))


def _rows(kind: str) -> list[dict[str, Any]]:
    finders: dict[str, Callable[..., Sequence[object]]] = {
        "now": _rates,
        "quotas": quota.find_quotas,
        "attention": alerts.find,
    }
    with services().connection() as connection:
        found = finders[kind](connection, auth.current_account_id(), now=datetime.now(UTC))
    return [{name: getattr(one, name) for name in _NAMES[kind]} for one in found]


@dataclass(frozen=True)
class _Rate:
    """A rate, or usage in the last minute that no rate counts; its amount is None."""

    unit: str
    window_s: int | None
    used: int
    amount: int | None = None
    name: str | None = None
    route: str | None = None
    model: str | None = None
    tool: str | None = None
    dry_run: bool = False
    unit_name: str | None = None
    smooth: bool = False
    remaining: int | None = None


def _rates(connection: Connection, account_id: str, *, now: datetime) -> list[_Rate]:
    live = find_live_rates(connection, account_id, now=now)
    measured = {rate.unit for rate in live.rates if rate.window_s == _MINUTE_S and not rate.smooth}
    counted = (("request", live.requests_per_minute), ("token", live.tokens_per_minute))
    free = [_Rate(unit, _MINUTE_S, used) for unit, used in counted if unit not in measured]
    return [*(_Rate(**vars(rate)) for rate in live.rates), *free]
