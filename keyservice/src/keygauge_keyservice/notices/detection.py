"""Detection of what to notify accounts of, from existing data; each notice has a unique name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from keygauge.warning_levels import EXPIRES_SOON_DAYS, QUOTA_SHARES, UNUSED_DAYS
from keygauge_keyservice.accounts.accounts import Account
from keygauge_keyservice.billing import billing
from keygauge_keyservice.database import Connection
from keygauge_keyservice.journal import audit
from keygauge_keyservice.keys import keys, spikes
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.keys.spikes import Spike
from keygauge_keyservice.ledger import addresses
from keygauge_keyservice.notices.channels import Kind
from keygauge_keyservice.usage import quota
from keygauge_keyservice.usage.quota import Quota

THRESHOLDS = tuple(round(100 * share) for share in reversed(QUOTA_SHARES))  # percent of a quota or budget
_EXPIRES_SOON = timedelta(days=EXPIRES_SOON_DAYS)
_UNUSED = timedelta(days=UNUSED_DAYS)
_KEYS_MAX = 500  # per account and run
_RECENT = timedelta(days=2)  # events older than this are not notified


@dataclass(frozen=True)
class Found:
    """Something to notify of; `name` identifies it, so that it is sent once."""

    kind: Kind
    name: str
    subject: str
    text: str
    is_silent: bool = False  # a higher threshold is sent instead


def find(connection: Connection, account: Account, *, now: datetime) -> Iterator[Found]:
    """Yield an account's notices; if very many keys expire or are unused, those of some of them."""
    near = quota.find_near(connection, account.id, share=min(QUOTA_SHARES), most=_KEYS_MAX, now=now)
    disabled = [
        entry
        for entry in audit.find_entries(connection, account.id, action="key.disable", limit=20)
        if entry.at > now - _RECENT
    ]
    key_ids = {entry.subject for entry in disabled} | {one.key_id for one in near if one.key_id}
    names = keys.names(connection, account.id, key_ids)
    for one in [*quota.find_of_account(connection, account.id, now=now), *near]:
        yield from of_quota(one, names)
    for key in keys.find_ageing(
        connection, account.id, expired=now, expiring=now + _EXPIRES_SOON, unused=now - _UNUSED, limit=_KEYS_MAX
    ):
        yield from of_key(key, now=now)
    for spike in spikes.find(connection, account.id, now=now):
        yield of_spike(spike, now=now)
    for fresh in addresses.find_new(connection, account.id, now=now):
        yield Found(
            "new_address",
            f"new_address:{fresh.key_id}:{fresh.ip}:{now:%Y-%m-%d}",
            f"API key “{fresh.key_name}” was used from a new IP address",
            f"The key was used from {fresh.ip}. If this wasn't you, disable or rotate the key.",
        )
    for entry in disabled:
        name = names.get(entry.subject, entry.subject)
        subject = f"API key “{name}” was disabled"
        yield Found("key_disabled", f"key_disabled:{entry.id}", subject, f"{entry.actor} disabled the key.")
    for invoice in billing.list_invoices(connection, account.id, limit=1):
        if invoice.closed_at > now - _RECENT:
            amount = f"${Decimal(invoice.total_nanousd).scaleb(-9):,.2f}"
            subject = f"Your invoice for {invoice.period:%B %Y} is available"
            yield Found("invoice", f"invoice:{invoice.period}", subject, f"The total is {amount}.")


def of_quota(one: Quota, names: dict[str, str]) -> Iterator[Found]:
    """Yield the thresholds that a quota has passed in its period; only the highest is sent, others count as sent."""
    if not one.amount or one.dry_run:
        return
    percent = 100 * one.used / one.amount
    unit = "budget" if one.unit == "nanousd" else f"{(one.unit_name or one.unit).replace('_', ' ')} quota"
    of_key = f" of “{names[one.key_id]}”" if one.key_id in names else ""
    if one.resets_at is None:
        end, resets = "lifetime", f"The {unit} does not reset."
    else:
        end = f"{one.resets_at:%Y-%m-%dT%H}"
        resets = f"The {unit} resets on {one.resets_at:%-d %b %Y, %H:%M} UTC."
    passed = [threshold for threshold in THRESHOLDS if percent >= threshold]
    for threshold in passed:
        text = "Further requests are rejected." if threshold == THRESHOLDS[0] else "Requests are rejected at 100%."
        yield Found(
            "quota",
            f"quota:{one.name}:{one.key_id or ''}:{end}:{threshold}",
            f"{threshold}% of the {unit} “{one.name}”{of_key} used {one.when}",
            f"{text} {resets}",
            is_silent=threshold != passed[0],
        )


def of_spike(spike: Spike, *, now: datetime) -> Found:
    """Return a spike's notice, one per key and day."""
    return Found(
        "spike",
        f"spike:{spike.key_id}:{now:%Y-%m-%d}",
        f"API key “{spike.key_name}” is used far more than usual",
        f"It had {spike.requests:,} requests in the last hour; its usual hour had {spike.usual:,.0f}. "
        "If you did not expect this, disable or rotate the key.",
    )


def of_key(key: Key, *, now: datetime) -> Iterator[Found]:
    """Yield a key's notices about expiry and disuse."""
    if key.expires_at is not None and now < key.expires_at <= now + _EXPIRES_SOON:
        subject = f"API key “{key.name}” expires on {key.expires_at:%-d %b %Y}"
        yield Found(
            "expiring", f"expiring:{key.id}:{key.expires_at:%Y-%m-%d}", subject, "Create or rotate a key in time."
        )
    last = key.last_used_at or key.created_at
    if key.status == "active" and last < now - _UNUSED:
        subject = f"API key “{key.name}” has not been used for {_UNUSED.days} days"
        yield Found("unused", f"unused:{key.id}:{last:%Y-%m-%d}", subject, "If it is no longer needed, disable it.")
