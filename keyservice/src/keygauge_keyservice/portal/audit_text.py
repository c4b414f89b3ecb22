"""The audit log in words: actions and what they changed; CSV and JSON keep the codes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from keygauge_keyservice.accounts import members
from keygauge_keyservice.limits.definitions import from_terms
from keygauge_keyservice.portal import formatting, limit_text
from keygauge_keyservice.texts import gettext, mark, ngettext

_ACTIONS = {
    "account.activate": mark("Account reactivated"),
    "account.create": mark("Account created"),
    "account.delete": mark("Account deleted"),
    "account.rename": mark("Account renamed"),
    "account.view": mark("Viewed as customer by an operator"),
    "account.suspend": mark("Account suspended"),
    "invoice.pay": mark("Invoice marked as paid"),
    "invoice.unpay": mark("Invoice marked as unpaid"),
    "key.change": mark("Key updated"),
    "key.create": mark("Key created"),
    "key.delete": mark("Key deleted"),
    "key.disable": mark("Key disabled"),
    "key.enable": mark("Key enabled"),
    "key.import": mark("Key imported"),
    "key.rename": mark("Key renamed"),
    "key.replace_limits": mark("Key limits updated"),
    "key.rotate": mark("Key rotated"),
    "member.create": mark("Member added"),
    "member.invite": mark("Member invited"),
    "member.remove": mark("Member removed"),
    "member.set_password": mark("Password changed"),
    "member.set_role": mark("Role changed"),
    "token.create": mark("Token created"),
    "token.revoke": mark("Token revoked"),
    "member.verify": mark("Address verified by single sign-on"),
    "member.uninvite": mark("Invitation canceled"),
    "note.add": mark("Support note added"),
    "notification.change": mark("Notification updated"),
    "notification.create": mark("Notification added"),
    "notification.delete": mark("Notification removed"),
    "notification.rotate": mark("Notification secret rotated"),
    "plan.change": mark("Plan changed"),
    "plan.create": mark("Plan created"),
    "plan.delete": mark("Plan deleted"),
    "plan.rename": mark("Plan renamed"),
    "plan.replace_limits": mark("Plan limits updated"),
    "plan.set_price": mark("Plan price updated"),
    "plan.set_terms": mark("Plan terms updated"),
    "plan.set_providers": mark("Plan providers updated"),
    "price.rerate": mark("Past requests repriced"),
    "price.set": mark("Price set"),
}
_NAMES = {
    "account": mark("Account"),
    "amount": mark("Amount"),
    "anchor": mark("Starts on"),
    "app": mark("Application"),
    "created_at": mark("Created"),
    "credit_nanousd": mark("Credit value"),
    "email": mark("E-mail address"),
    "environment": mark("Environment"),
    "events": mark("Events"),
    "expires_at": mark("Expires"),
    "grace_s": mark("Old secret expires"),
    "kind": mark("Type"),
    "limits": mark("Limits"),
    "model": mark("Model"),
    "models": mark("Models"),
    "monthly_nanousd": mark("Monthly price"),
    "name": mark("Name"),
    "networks": mark("Networks"),
    "plan": mark("Plan"),
    "plan_id": mark("Plan"),
    "prorated": mark("Prorated"),
    "provider": mark("Provider"),
    "providers": mark("Providers"),
    "role": mark("Role"),
    "self_service": mark("Self-service"),
    "rotate_every_days": mark("Rotation reminder"),
    "routes": mark("Endpoints"),
    "scope": mark("Scope"),
    "scopes": mark("Scopes"),
    "secret": mark("Secret number"),
    "status": mark("Status"),
    "target": mark("Destination"),
    "text": "",
    "tools": mark("Tools"),
    "tiers": mark("Per million tokens"),
    "type": mark("Type"),
    "valid_from": mark("Valid from"),
}
_CODED = {"environment", "events", "kind", "role", "scope", "status", "type"}  # names whose values have labels
_WORDS = {
    **members.ROLE_NAMES,
    "account": mark("Account"),
    "active": mark("Active"),
    "disabled": mark("Disabled"),
    "suspended": mark("Suspended"),
    "live": mark("Live"),
    "test": mark("Test"),
    "read": mark("Read"),
    "manage": mark("Read and manage keys"),
    "email": mark("E-mail"),
    "webhook": mark("Webhook"),
    "slack": mark("Slack"),
    "discord": mark("Discord"),
    "quota": mark("Quotas"),
    "spike": mark("Key used far more than usual"),
    "new_address": mark("Key used from a new IP address"),
    "expiring": mark("Key about to expire"),
    "unused": mark("Key unused for 60 days"),
    "key_disabled": mark("Key disabled"),
    "invoice": mark("Invoice available"),
}
_NOTHING = {
    "expires_at": mark("Never"),
    "networks": mark("All"),
    "routes": mark("All"),
    "models": mark("All"),
    "tools": mark("All"),
}
_RATES = {"input": mark("input"), "output": mark("output"), "cache_read": mark("cached input")}


@dataclass(frozen=True)
class Change:
    """One value that an action changed: its label and its lines."""

    name: str
    lines: list[str]


def action(code: str) -> str:
    """Return an action's label, or its code if it has none yet."""
    return gettext(_ACTIONS[code]) if code in _ACTIONS else code


def changes(values: Mapping[str, Any] | None) -> list[Change]:
    """Return the labelled values from before or after an action."""
    return [Change(_name(name), _lines(name, value)) for name, value in (values or {}).items()]


def _name(name: str) -> str:
    known = _NAMES.get(name)
    if known is not None:
        return known and gettext(known)
    return name.removesuffix("_nanousd").replace("_", " ").capitalize()


def _lines(name: str, value: object) -> list[str]:
    if value is None or value == []:
        return [gettext(_NOTHING.get(name, mark("None")))]
    if isinstance(value, list):
        texts = [_one(name, one) for one in value]
        return texts if isinstance(value[0], dict) else [", ".join(texts)]
    return [_one(name, value)]


def _one(name: str, value: object) -> str:
    if isinstance(value, dict):
        return _document(name, value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _number(name, value)
    if isinstance(value, str) and name in {"expires_at", "valid_from"}:
        return formatting.clock(datetime.fromisoformat(value))
    if isinstance(value, bool):
        return gettext("Yes") if value else gettext("No")
    text = str(value)
    return gettext(_WORDS[text]) if name in _CODED and text in _WORDS else text


def _number(name: str, value: int) -> str:
    if name.endswith("_nanousd"):
        return formatting.money(value)
    if name == "grace_s":
        return gettext("after %(time)s", time=formatting.span(value)) if value else gettext("immediately")
    if name == "rotate_every_days":
        return ngettext("every %(num)s day", "every %(num)s days", value)
    return formatting.count(value)


def _document(name: str, value: dict[str, Any]) -> str:
    if name == "limits":
        try:
            return limit_text.describe(from_terms(value))
        except TypeError:  # written by another version
            pass
    if name == "tiers":
        rates = [f"{gettext(title)} {formatting.price(value[rate])}" for rate, title in _RATES.items() if rate in value]
        return ", ".join(rates)
    return json.dumps(value)
