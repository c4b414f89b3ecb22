"""What needs attention in an account, for the overview, with links."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from flask import url_for

from keygauge.warning_levels import EXPIRES_SOON_DAYS, QUOTA_NEAR, UNUSED_DAYS
from keygauge_keyservice.database import Connection
from keygauge_keyservice.keys import keys, spikes
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.keys.spikes import Spike
from keygauge_keyservice.ledger import addresses
from keygauge_keyservice.ledger.addresses import NewAddresses
from keygauge_keyservice.portal import formatting, limit_text
from keygauge_keyservice.texts import gettext, ngettext
from keygauge_keyservice.usage import quota, usage
from keygauge_keyservice.usage.quota import Quota
from keygauge_keyservice.usage.usage import Part

_EXPIRES_SOON = timedelta(days=EXPIRES_SOON_DAYS)
_UNUSED = timedelta(days=UNUSED_DAYS)
_AGEING_MAX = 500  # keys considered, first to expire first
_NEAR_MAX, _WRONG_MAX = 100, 100  # keys with the fullest quotas, and with the most client errors
_ERRORS_MIN, _ERRORS_SHARE = 20, 0.1  # of a key's calls in a day: signs of a program that repeats its mistake


Kind = Literal["quota", "spike", "new_address", "client_errors", "expired", "expires", "rotation_due", "unused"]


@dataclass(frozen=True)
class Alert:
    """Something that needs attention, with a link."""

    kind: Kind
    key_id: str | None  # None: it concerns the whole account
    text: str
    address: str
    state: str = ""  # distinguishes it from earlier ones, such as a period

    @property
    def name(self) -> str:
        """Return the name under which it is dismissed."""
        return f"{self.kind}:{self.key_id or ''}:{self.state}"


def find(connection: Connection, account_id: str, *, now: datetime) -> list[Alert]:
    """Return everything that needs attention, most urgent first."""
    quotas = quota.find_of_account(connection, account_id, now=now)
    return find_with(connection, account_id, quotas, now=now)


def find_with(connection: Connection, account_id: str, quotas: Sequence[Quota], *, now: datetime) -> list[Alert]:
    """Return the same if the quotas of the whole account are already known."""
    since = now - timedelta(days=1)
    day = usage.top(
        connection,
        by="key",
        order="client_errors",
        most=_WRONG_MAX,
        least=_ERRORS_MIN,
        account_id=account_id,
        start=since,
        end=now,
    ).parts
    quotas = [*quotas, *quota.find_near(connection, account_id, share=QUOTA_NEAR, most=_NEAR_MAX, now=now)]
    fresh = addresses.find_new(connection, account_id, now=now)
    ids = {one.key_id for one in quotas if one.key_id} | {part.group for part in day}
    names = keys.names(connection, account_id, ids)
    ageing = keys.find_ageing(
        connection, account_id, expiring=now + _EXPIRES_SOON, unused=now - _UNUSED, limit=_AGEING_MAX
    )
    spiking = spikes.find(connection, account_id, now=now)
    return [
        *of_quotas(quotas, names),
        *of_spikes(spiking, now=now),
        *of_addresses(fresh),
        *of_errors(day, names),
        *of_keys(ageing, now=now),
    ]


def of_quotas(quotas: Sequence[Quota], names: dict[str, str]) -> Iterator[Alert]:
    """Yield alerts on quotas and budgets that are running out, of the account and its keys."""
    for one in quotas:
        if one.amount and not one.dry_run and one.used >= QUOTA_NEAR * one.amount:
            words = {
                "share": formatting.share(one.used, one.amount),
                "quota": one.noun,
                "name": one.name,
                "when": limit_text.when(one),
            }
            yield Alert(
                "quota",
                one.key_id,
                gettext(
                    "%(share)s of the %(quota)s “%(name)s” of “%(key)s” used %(when)s.", key=names[one.key_id], **words
                )
                if one.key_id in names
                else gettext("%(share)s of the %(quota)s “%(name)s” used %(when)s.", **words),
                url_for("portal.usage.show", key=one.key_id),
                f"{one.name}:{one.starts_at:%Y-%m-%d}:{'full' if one.used >= one.amount else 'near'}",
            )


def of_spikes(spiking: Sequence[Spike], *, now: datetime) -> Iterator[Alert]:
    """Yield alerts on keys that are used far more than usual."""
    for one in spiking:
        yield Alert(
            "spike",
            one.key_id,
            gettext(
                "“%(key)s” had %(requests)s requests in the last hour, usually %(usual)s per hour.",
                key=one.key_name,
                requests=formatting.count(one.requests),
                usual=formatting.count(round(one.usual)),
            ),
            url_for("portal.usage.show", key=one.key_id, range="24h"),
            f"{now:%Y-%m-%d}",
        )


def of_addresses(fresh: Sequence[NewAddresses]) -> Iterator[Alert]:
    """Yield alerts on keys used from new addresses."""
    for one in fresh:
        yield Alert(
            "new_address",
            one.key_id,
            ngettext(
                "“%(key)s” was used from a new IP address: %(ip)s.",
                "“%(key)s” was used from %(num)s new IP addresses, including %(ip)s.",
                one.ips,
                key=one.key_name,
                ip=one.ip,
            ),
            url_for("portal.calls.show", key=one.key_id, ip=one.ip, exact=1, range="24h"),
            one.ip,
        )


def of_errors(day: Sequence[Part], names: dict[str, str]) -> Iterator[Alert]:
    """Yield alerts on keys with many client errors (400 to 499)."""
    for part in day:
        wrong = part.client_errors
        if part.group in names and wrong >= _ERRORS_SHARE * part.requests:
            yield Alert(
                "client_errors",
                part.group,
                ngettext(
                    "“%(key)s” had %(number)s client error (4xx) in the last 24 hours (%(share)s of its requests).",
                    "“%(key)s” had %(number)s client errors (4xx) in the last 24 hours (%(share)s of its requests).",
                    wrong,
                    key=names[part.group],
                    number=formatting.count(wrong),
                    share=formatting.share(wrong, part.requests),
                ),
                url_for("portal.calls.show", key=part.group, status="4xx", range="24h"),
            )


def of_keys(listed: Sequence[Key], *, now: datetime) -> Iterator[Alert]:
    """Yield alerts on keys that have expired or will soon, are due for rotation, or are unused."""
    for key in listed:
        address = url_for("portal.key.show", key_id=key.id)
        for kind, text in _of_key(key, now):
            yield Alert(kind, key.id, text, address)


def _of_key(key: Key, now: datetime) -> Iterator[tuple[Kind, str]]:
    if key.expires_at is not None and key.expires_at <= now:
        yield "expired", gettext("“%(key)s” expired on %(day)s.", key=key.name, day=formatting.day(key.expires_at))
        return
    if key.expires_at is not None and key.expires_at <= now + _EXPIRES_SOON:
        yield "expires", gettext("“%(key)s” expires on %(day)s.", key=key.name, day=formatting.day(key.expires_at))
    if key.status != "active":
        return
    if key.rotation_due_at is not None and key.rotation_due_at <= now:
        yield (
            "rotation_due",
            gettext(
                "“%(key)s” is due for rotation. It was last rotated on %(day)s.",
                key=key.name,
                day=formatting.day(key.rotated_at),
            ),
        )
    if (key.last_used_at or key.created_at) < now - _UNUSED:
        yield "unused", gettext("“%(key)s” has not been used for %(days)s days.", key=key.name, days=_UNUSED.days)
