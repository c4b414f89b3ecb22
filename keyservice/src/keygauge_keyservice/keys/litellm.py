"""What LiteLLM's database tells of teams, users, keys and budgets, as an import of keys takes it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

_KEYS = """/* litellm.keys */
SELECT token.token, token.key_alias, token.spend, token.expires, token.models, token.blocked, token.created_at,
    coalesce(token.rpm_limit, budget.rpm_limit) AS rpm, coalesce(token.tpm_limit, budget.tpm_limit) AS tpm,
    coalesce(token.max_parallel_requests, budget.max_parallel_requests) AS at_once,
    coalesce(token.max_budget, budget.max_budget) AS budget,
    coalesce(token.budget_duration, budget.budget_duration) AS duration,
    coalesce(nullif(team.team_alias, ''), token.team_id) AS team, coalesce(team.blocked, false) AS team_blocked,
    coalesce(nullif(person.user_email, ''), token.user_id) AS person
FROM "LiteLLM_VerificationToken" AS token
LEFT JOIN "LiteLLM_TeamTable" AS team ON team.team_id = token.team_id
LEFT JOIN "LiteLLM_UserTable" AS person ON person.user_id = token.user_id
LEFT JOIN "LiteLLM_BudgetTable" AS budget ON budget.budget_id = token.budget_id
ORDER BY token.created_at NULLS FIRST, token.token"""
_OWNERLESS = "LiteLLM"  # the account of keys that have neither team nor user
_ALL = {"all-team-models", "all-proxy-models", "*"}
_PERIODS = {"1d": "day", "24h": "day", "daily": "day", "1mo": "month", "30d": "month", "monthly": "month"}


class NotLiteLLMError(ValueError):
    """The database has not LiteLLM's tables."""


def read(url: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the keys as rows of an import, and what could not be taken over of them, in words.

    Raises:
        NotLiteLLMError: the tables are not there.
        psycopg.Error: the database cannot be read.
    """
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.read_only = True
        try:
            found = connection.execute(_KEYS).fetchall()
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise NotLiteLLMError(str(error).partition("\n")[0]) from error
    notes: list[str] = []
    return [_row(key, notes) for key in found], notes


def _row(key: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    name = key["key_alias"] or f"LiteLLM {key['token'][:8]}"
    models = [] if _ALL & set(key["models"]) else key["models"]
    row: dict[str, Any] = {
        "hash": key["token"],
        "name": name[:100],
        "account": (key["team"] or key["person"] or _OWNERLESS)[:100],
        "models": models,
        "limits": list(_limits(key, name, notes)),
        "disabled": bool(key["blocked"] or key["team_blocked"]),
    }
    if key["person"]:
        row["app"] = key["person"][:200]
    if key["expires"]:
        row["expires_at"] = _utc(key["expires"]).isoformat()
    return row


def _limits(key: dict[str, Any], name: str, notes: list[str]) -> Iterator[str]:
    """Write limits as the command line has them; what is below zero or has no period here is told in a note."""
    if key["rpm"] is not None:
        yield f"rpm={key['rpm']}:request:60s"
    if key["tpm"] is not None:
        yield f"tpm={key['tpm']}:token:60s"
    if key["at_once"] is not None:
        yield f"at_once={key['at_once']}:concurrent"
    if key["budget"] is None:
        return
    period = _PERIODS.get(key["duration"] or "")
    if period is None:
        duration = key["duration"] or "its whole life"
        notes.append(f"{name}: its budget of {key['budget']:.2f} USD is for {duration}; use one by day or month")
        return
    yield f"budget={key['budget']:.9f}:usd:{period}"


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
