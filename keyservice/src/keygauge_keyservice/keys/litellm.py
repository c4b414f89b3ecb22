"""Reading LiteLLM's database: teams, users, keys and budgets as rows for `key_import`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from keygauge_keyservice import database
from keygauge_keyservice.limits.periods import ZONED, Period, Periods

_KEYS = """/* litellm.keys */
SELECT token.token, token.key_alias, token.spend, token.expires, token.models, token.blocked, token.created_at,
    coalesce(token.rpm_limit, budget.rpm_limit) AS rpm, coalesce(token.tpm_limit, budget.tpm_limit) AS tpm,
    coalesce(token.max_parallel_requests, budget.max_parallel_requests) AS at_once,
    coalesce(token.max_budget, budget.max_budget) AS budget,
    coalesce(token.budget_duration, budget.budget_duration) AS duration,
    CASE WHEN token.budget_duration IS NULL THEN budget.budget_reset_at ELSE token.budget_reset_at END AS resets_at,
    coalesce(nullif(team.team_alias, ''), token.team_id) AS team, coalesce(team.blocked, false) AS team_blocked,
    coalesce(nullif(person.user_email, ''), token.user_id) AS person,
    to_jsonb(token.*) AS token_row, to_jsonb(team.*) AS team_row, to_jsonb(person.*) AS person_row
FROM "LiteLLM_VerificationToken" AS token
LEFT JOIN "LiteLLM_TeamTable" AS team ON team.team_id = token.team_id
LEFT JOIN "LiteLLM_UserTable" AS person ON person.user_id = token.user_id
LEFT JOIN "LiteLLM_BudgetTable" AS budget ON budget.budget_id = token.budget_id
WHERE token.team_id IS DISTINCT FROM 'litellm-dashboard'  -- sessions of its own pages
ORDER BY token.created_at NULLS FIRST, token.token"""
_NAME_MAX = 100
_OWNERLESS = "LiteLLM"  # the account for keys that have neither team nor user
_ALL = {"all-team-models", "all-proxy-models", "*"}
# LiteLLM's `duration_parser` resets these at midnight, on Monday or on the first of the month; other durations, such as
# 14d, are counted from the last reset.
_PERIODS: dict[str, Period] = {
    **dict.fromkeys(("1h", "60m"), "hour"),
    **dict.fromkeys(("1d", "24h"), "day"),
    **dict.fromkeys(("7d", "1w"), "week"),
    **dict.fromkeys(("30d", "1mo"), "month"),
}
_ENDLESS = {"", "none", "null"}
_NOT_IMPORTED = ("allowed_routes", "model_max_budget", "budget_limits", "tpd_limit")  # in some versions only
_ORDINARY: tuple[Any, ...] = (None, [], {}, ["llm_api_routes"])
_NOT_IMPORTED_METADATA = ("model_rpm_limit", "model_tpm_limit")


class NotLiteLLMError(ValueError):
    """The database does not have LiteLLM's tables."""


def read(url: str, *, zone: str | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the keys as rows for an import, and notes about what will differ from LiteLLM.

    `zone` is the time zone of LiteLLM's budget periods, if not UTC.

    Raises:
        NotLiteLLMError: LiteLLM's tables or columns are missing.
        psycopg.Error: the database cannot be read.
    """
    with psycopg.connect(url, row_factory=dict_row, client_encoding="utf8") as connection:
        connection.read_only = True
        database.set_formats(connection)
        try:
            found = connection.execute(_KEYS).fetchall()
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise NotLiteLLMError(str(error).partition("\n")[0]) from error
    notes: list[str] = []
    accounts = _accounts(found, notes)
    rows = [_row(key, accounts[_identity(key)], zone, notes) for key in found]
    _note_owners(found, accounts, zone, notes)
    return rows, notes


def _identity(key: dict[str, Any]) -> tuple[str, str]:
    """Return whose key it is: a kind of owner and its ID."""
    kind = "team_id" if key["team"] else "user_id" if key["person"] else ""
    return kind, key["token_row"][kind] if kind else ""


def _accounts(keys: list[dict[str, Any]], notes: list[str]) -> dict[tuple[str, str], str]:
    """Return each owner's account; owners with the same name, which LiteLLM allows, are kept apart by their IDs."""
    names = {_identity(key): str(key["team"] or key["person"] or _OWNERLESS)[:_NAME_MAX] for key in keys}
    taken = Counter(names.values())
    notes += [
        f"{name}: {count} teams or users have this name; their accounts have their IDs in the name"
        for name, count in sorted(taken.items())
        if count > 1
    ]
    return {owner: _with_id(name, owner[1]) if taken[name] > 1 else name for owner, name in names.items()}


def _with_id(name: str, owner_id: str) -> str:
    suffix = f" ({owner_id})" if owner_id else ""
    return name[: max(0, _NAME_MAX - len(suffix))] + suffix[:_NAME_MAX]


def _row(key: dict[str, Any], account: str, zone: str | None, notes: list[str]) -> dict[str, Any]:
    name = key["key_alias"] or f"LiteLLM {key['token'][:8]}"
    models = _models(key["models"] or [], _owner(key).get("models") or [])
    if models is None:
        notes.append(f"{name}: none of its models is one of its team's or user's; it was imported as disabled")
    if left := _left(key["token_row"]):
        notes.append(f"{name}: its {' and '.join(left)} {'was' if len(left) == 1 else 'were'} not imported")
    row: dict[str, Any] = {
        "hash": key["token"],
        "name": name[:_NAME_MAX],
        "account": account,
        "models": models or [],
        "limits": [*_rates(key), *_budget(key, name, zone, notes)],
        "disabled": bool(key["blocked"] or key["team_blocked"] or models is None),
    }
    if key["person"]:
        row["app"] = key["person"][:200]
    if key["expires"]:
        row["expires_at"] = _utc(key["expires"]).isoformat()
    return row


def _owner(key: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a key's team or, if it has none, of its user."""
    return (key["team_row"] if key["team"] else key["person_row"]) or {}


def _models(own: list[str], owners: list[str]) -> list[str] | None:
    """Return the models that a key and its owner both allow: none listed means all; None if there is no such model."""
    own, owners = ([] if _ALL & set(models) else models for models in (own, owners))
    if not own or not owners:
        return own or owners
    shared = [model for model in own if _allows(owners, model)]
    return shared + [model for model in owners if model not in own and _allows(own, model)] or None


def _allows(models: list[str], name: str) -> bool:
    return any(name == model or (model.endswith("*") and name.startswith(model[:-1])) for model in models)


def _left(token: dict[str, Any]) -> list[str]:
    """Return the names of a key's restrictions that have no counterpart here."""
    metadata = token.get("metadata") or {}
    left = [name for name in _NOT_IMPORTED if token.get(name) not in _ORDINARY]
    return left + [name for name in _NOT_IMPORTED_METADATA if metadata.get(name)]


def _note_owners(
    keys: list[dict[str, Any]], accounts: dict[tuple[str, str], str], zone: str | None, notes: list[str]
) -> None:
    """Add a note for each team or user with limits, which are an account's plan here."""
    for name, owner in {accounts[_identity(key)]: _owner(key) for key in keys}.items():
        renamed = {"rpm": "rpm_limit", "tpm": "tpm_limit", "at_once": "max_parallel_requests", "budget": "max_budget"}
        found = {ours: owner.get(theirs) for ours, theirs in renamed.items()}
        found |= {"duration": owner.get("budget_duration"), "spend": owner.get("spend"), "resets_at": None}
        if limits := [*_rates(found), *_budget(found, name, zone, notes)]:
            options = " ".join(f"--limit {limit}" for limit in limits)
            notes.append(f"{name}: the limits of its team or user were not imported; use a plan with {options}")


def _rates(key: dict[str, Any]) -> Iterator[str]:
    """Yield the rate and concurrency limits in command-line syntax."""
    if key["rpm"] is not None:
        yield f"rpm={key['rpm']}:request:60s"
    if key["tpm"] is not None:
        yield f"tpm={key['tpm']}:token:60s"
    if key["at_once"] is not None:
        yield f"at_once={key['at_once']}:concurrent"


def _budget(key: dict[str, Any], name: str, zone: str | None, notes: list[str]) -> Iterator[str]:
    """Yield the budget in command-line syntax, and add a note if it will differ from LiteLLM's."""
    if key["budget"] is None:
        return
    duration = (key["duration"] or "").strip().lower()
    usd = f"{key['budget']:.2f} USD"
    if duration in _ENDLESS:  # never reset: only the rest is imported
        spent = key["spend"] or 0
        if spent:
            notes.append(f"{name}: {spent:.2f} USD of its budget of {usd} were spent at LiteLLM; it gets the rest")
        yield f"budget={max(0, key['budget'] - spent):.9f}:usd:lifetime"
        return
    period = _PERIODS.get(duration)
    if period is None:
        notes.append(
            f"{name}: its budget of {usd} is for {duration} and was not imported; use an hour, day, week or month"
        )
        return
    end = datetime.fromtimestamp(Periods(period, zone=zone).around(int(time.time()))[1], UTC)
    resets_at = key["resets_at"] and _utc(key["resets_at"])
    if resets_at and resets_at > datetime.now(UTC) and resets_at != end:
        notes.append(
            f"{name}: its budget of {usd} resets at {resets_at:%F %H:%M} UTC at LiteLLM, at {end:%F %H:%M} here"
        )
    in_zone = f",zone={zone}" if zone and period in ZONED else ""
    yield f"budget={key['budget']:.9f}:usd:{period}{in_zone}"


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
