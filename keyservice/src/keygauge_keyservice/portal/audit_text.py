"""The audit record in words: what was done, and what it changed; CSV and JSON keep the codes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.portal import formatting, limit_text

_ACTIONS = {
    "account.activate": "Account reactivated",
    "account.create": "Account created",
    "account.delete": "Account deleted",
    "account.rename": "Account renamed",
    "account.look": "Viewed as customer by an operator",
    "account.suspend": "Account suspended",
    "channel.change": "Notification updated",
    "channel.create": "Notification added",
    "channel.delete": "Notification removed",
    "invoice.pay": "Invoice marked as paid",
    "invoice.unpay": "Invoice marked as unpaid",
    "key.change": "Key updated",
    "key.create": "Key created",
    "key.delete": "Key deleted",
    "key.disable": "Key disabled",
    "key.enable": "Key enabled",
    "key.import": "Key imported",
    "key.rename": "Key renamed",
    "key.replace_limits": "Key limits updated",
    "key.rotate": "Key rotated",
    "member.create": "Member added",
    "member.invite": "Member invited",
    "member.remove": "Member removed",
    "member.set_password": "Password changed",
    "member.set_role": "Role changed",
    "token.create": "Token created",
    "token.revoke": "Token revoked",
    "member.verify": "Address verified by single sign-on",
    "member.uninvite": "Invitation canceled",
    "note.add": "Support note added",
    "plan.change": "Plan changed",
    "plan.create": "Plan created",
    "plan.delete": "Plan deleted",
    "plan.rename": "Plan renamed",
    "plan.replace_limits": "Plan limits updated",
    "plan.set_price": "Plan price updated",
    "plan.set_prorated": "Plan proration updated",
    "plan.set_providers": "Plan providers updated",
    "price.rerate": "Past requests repriced",
    "price.set": "Price set",
}
_NAMES = {
    "app": "Application",
    "credit_nanousd": "Credit value",
    "email": "E-mail address",
    "expires_at": "Expires",
    "grace_s": "Old secret expires",
    "monthly_nanousd": "Monthly price",
    "networks": "Networks",
    "rotate_every_days": "Rotation reminder",
    "routes": "Endpoints",
    "secret": "Secret number",
    "text": "",
    "tiers": "Per million tokens",
    "valid_from": "Valid from",
}
_NOTHING = {"expires_at": "Never", "networks": "All", "routes": "All", "models": "All"}
_RATES = ("input", "output", "cache_read")


@dataclass(frozen=True)
class Change:
    """One thing that an action changed: what it is called, and its lines."""

    name: str
    lines: list[str]


def action(code: str) -> str:
    """Say what an action did; one that has no words yet says its code."""
    return _ACTIONS.get(code, code)


def changes(values: Mapping[str, Any] | None) -> list[Change]:
    """Say what stood somewhere before or after an action."""
    return [Change(_name(name), _lines(name, value)) for name, value in (values or {}).items()]


def _name(name: str) -> str:
    return _NAMES.get(name, name.removesuffix("_nanousd").replace("_", " ").capitalize())


def _lines(name: str, value: object) -> list[str]:
    if value is None or value == []:
        return [_NOTHING.get(name, "None")]
    if isinstance(value, list):
        return [_one(name, one) for one in value] if isinstance(value[0], dict) else [", ".join(map(str, value))]
    return [_one(name, value)]


def _one(name: str, value: object) -> str:
    if isinstance(value, dict):
        return _document(name, value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _number(name, value)
    if isinstance(value, str) and name in {"expires_at", "valid_from"}:
        return formatting.clock(datetime.fromisoformat(value))
    return str(value)


def _number(name: str, value: int) -> str:
    if name.endswith("_nanousd"):
        return formatting.money(value)
    if name == "grace_s":
        return f"after {formatting.span(value)}" if value else "immediately"
    return f"every {value} days" if name == "rotate_every_days" else formatting.count(value)


def _document(name: str, value: dict[str, Any]) -> str:
    if name == "limits":
        try:
            return limit_text.describe(Limit(**value))
        except TypeError:  # written by another version
            pass
    if name == "tiers":
        rates = [f"{rate.replace('_', ' ')} {formatting.money(value[rate])}" for rate in _RATES if rate in value]
        return ", ".join(rates)
    return json.dumps(value)
