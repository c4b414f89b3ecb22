"""Plans and their limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg import sql
from psycopg.errors import UniqueViolation

from keygauge.settings.provider_rule import parse_rule
from keygauge_keyservice import keyset
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import FieldError, Problem, invalid, not_found
from keygauge_keyservice.journal import audit, change_feed
from keygauge_keyservice.limits import definitions
from keygauge_keyservice.limits.definitions import Limit, Owner, terms
from keygauge_keyservice.texts import gettext

Sort = Literal["id", "name", "created", "-id", "-name", "-created"]
SORTS = {"id": "id", "name": "lower(name)", "created": "created_at"}
_COLUMNS = "id, name, created_at, providers, monthly_nanousd, prorated, self_service"
_FIND = f"/* plans.load */ SELECT {_COLUMNS} FROM plan WHERE id = ANY(%s) ORDER BY id"  # noqa: S608 - a constant
_OWN = "(%(account_id)s::text IS NULL OR id = (SELECT plan_id FROM account WHERE account.id = %(account_id)s))"
_LIST = """/* plans.list */ SELECT {columns} FROM plan
WHERE {own} AND (%(name)s::text IS NULL OR lower(name) = lower(%(name)s))
AND {after} ORDER BY {order} LIMIT %(limit)s"""

PROVIDERS_MAX = 50  # replicas check each of them at the end of a call


def checked_rule(text: str) -> str:
    """Return a rule `PATH=PROVIDER` in the form in which it is stored.

    Raises:
        ValueError: the text is not such a rule.
    """
    return "=".join(parse_rule(text))


@dataclass(frozen=True)
class Plan:
    """The plan of one or more accounts."""

    id: str
    name: str
    created_at: datetime
    limits: tuple[Limit, ...]
    providers: tuple[str, ...] = ()  # the provider behind each route, as `PATH=PROVIDER`
    monthly_nanousd: int | None = None  # monthly price; None: only usage is billed
    prorated: bool = False  # billed by the day; otherwise the plan at month end is billed in full
    self_service: bool = False  # owners of accounts can move to and from it in the portal


def create(connection: Connection, *, plan_id: str, name: str, limits: Sequence[Limit], actor: str) -> Plan:
    """Create a plan with its limits.

    Raises:
        Problem: 409 if the id is taken.
    """
    with connection.transaction():
        try:
            connection.execute("/* plans.create */ INSERT INTO plan (id, name) VALUES (%s, %s)", (plan_id, name))
        except UniqueViolation:
            raise Problem(409, "plan_exists", f"The plan {plan_id!r} already exists.") from None
        definitions.insert(connection, Owner(plan_id=plan_id), limits)
        _record(connection, plan_id, actor, "plan.create", after={"name": name, **_limits(limits)})
        return require(connection, plan_id)


def find(connection: Connection, plan_id: str) -> Plan | None:
    """Return a plan with its limits, or None."""
    plans = _load(connection, [plan_id])
    return plans[0] if plans else None


def require(connection: Connection, plan_id: str) -> Plan:
    """Return a plan with its limits.

    Raises:
        Problem: 404.
    """
    plan = find(connection, plan_id)
    if plan is None:
        raise not_found("plan", plan_id)
    return plan


def list_plans(
    connection: Connection,
    *,
    account_id: str | None = None,
    name: str | None = None,
    sort: Sort = "id",
    after: str | None = None,
    limit: int | None = None,
) -> list[Plan]:
    """Return a sorted page of plans, filtered by account or name; `after` is the last id of the previous page."""
    beyond, order = keyset.clauses("plan", SORTS, sort, own=_OWN)
    query = sql.SQL(_LIST).format(columns=sql.SQL(_COLUMNS), own=sql.SQL(_OWN), after=beyond, order=order)
    values = {"account_id": account_id, "name": name, "after": after, "limit": limit}
    return _with_limits(connection, connection.execute(query, values, prepare=False).fetchall())


def replace_limits(connection: Connection, plan_id: str, limits: Sequence[Limit], *, actor: str) -> Plan:
    """Replace a plan's limits, effective immediately for all of its accounts.

    A limit that keeps its name and measure keeps the usage counted so far; if its measure changes, it starts at zero.
    """
    with connection.transaction():
        old = _lock(connection, plan_id).limits
        definitions.replace(connection, Owner(plan_id=plan_id), old, limits)
        _record(connection, plan_id, actor, "plan.replace_limits", before=_limits(old), after=_limits(limits))
        plan = require(connection, plan_id)
        change_feed.record_plan(connection, plan_id)
        return plan


def rename(connection: Connection, plan_id: str, name: str, *, actor: str) -> None:
    """Rename a plan.

    Raises:
        Problem: 404 if there is no such plan.
    """
    with connection.transaction():
        before = _lock(connection, plan_id)
        if before.name == name:
            return
        connection.execute("/* plans.rename */ UPDATE plan SET name = %s WHERE id = %s", (name, plan_id))
        _record(connection, plan_id, actor, "plan.rename", before={"name": before.name}, after={"name": name})


def set_providers(connection: Connection, plan_id: str, providers: Sequence[str], *, actor: str) -> Plan:
    """Replace a plan's rules for which provider is behind each route.

    Raises:
        Problem: 404 if there is no such plan.
    """
    with connection.transaction():
        before = _lock(connection, plan_id)
        connection.execute(
            "/* plans.set_providers */ UPDATE plan SET providers = %s WHERE id = %s", (list(providers), plan_id)
        )
        old, new = {"providers": list(before.providers)}, {"providers": list(providers)}
        _record(connection, plan_id, actor, "plan.set_providers", before=old, after=new)
        change_feed.record_plan(connection, plan_id)
        return require(connection, plan_id)


def set_terms(
    connection: Connection,
    plan_id: str,
    *,
    actor: str,
    prorated: bool | None = None,
    self_service: bool | None = None,
) -> None:
    """Set how months in which an account ends on this plan are billed, and whether owners can choose the plan.

    A self-service plan must be prorated: otherwise a customer could use an expensive plan and pay for the cheap one
    that is in force at the end of the month.

    Raises:
        Problem: 404 if there is no such plan; 422 if it would be self-service and not prorated.
    """
    given = {"prorated": prorated, "self_service": self_service}
    with connection.transaction():
        plan = _lock(connection, plan_id)
        before = {"prorated": plan.prorated, "self_service": plan.self_service}
        after = before | {name: value for name, value in given.items() if value is not None}
        if after["self_service"] and not after["prorated"]:
            detail = gettext("only applies to prorated plans")
            raise invalid(FieldError("self_service", "wrong_plan", detail))
        changed = {name for name in before if before[name] != after[name]}
        if not changed:
            return
        connection.execute(
            "/* plans.set_terms */ UPDATE plan SET prorated = %(prorated)s, self_service = %(self_service)s "
            "WHERE id = %(id)s",
            {"id": plan_id, **after},
        )
        old, new = ({name: one[name] for name in sorted(changed)} for one in (before, after))
        _record(connection, plan_id, actor, "plan.set_terms", before=old, after=new)


def delete(connection: Connection, plan_id: str, *, actor: str) -> None:
    """Delete an unused plan; invoices keep its id and fees.

    Raises:
        Problem: 404; 409 if accounts are on it, or were on it in a month that may still be billed.
    """
    with connection.transaction():
        before = _lock(connection, plan_id)
        _require_unused(connection, plan_id)
        connection.execute("/* plans.delete */ DELETE FROM plan WHERE id = %s", (plan_id,))
        _record(connection, plan_id, actor, "plan.delete", before={"name": before.name, **_limits(before.limits)})


def _require_unused(connection: Connection, plan_id: str) -> None:
    row = connection.execute(
        "/* plans.uses */ SELECT (SELECT count(*) FROM account WHERE plan_id = %(id)s) AS accounts, "
        "EXISTS (SELECT FROM account_plan_before WHERE plan_id = %(id)s "
        "AND until >= date_trunc('month', now(), 'UTC') - interval '1 month') AS is_to_be_billed",
        {"id": plan_id},
    ).fetchone() or {"accounts": 0, "is_to_be_billed": False}
    if row["accounts"]:
        count = "1 account is" if row["accounts"] == 1 else f"{row['accounts']} accounts are"
        detail = f"{count} on the plan {plan_id!r}. Move them to another plan first."
        raise Problem(409, "plan_in_use", detail)
    if row["is_to_be_billed"]:
        detail = f"Accounts were on the plan {plan_id!r} this month or last month, so invoices still need its price."
        raise Problem(409, "plan_in_use", detail)


def _lock(connection: Connection, plan_id: str) -> Plan:
    connection.execute("/* plans.lock */ SELECT FROM plan WHERE id = %s FOR UPDATE", (plan_id,))
    return require(connection, plan_id)


def _record(connection: Connection, plan_id: str, actor: str, action: str, **change: dict[str, Any]) -> None:
    audit.append(connection, account_id=None, actor=actor, action=action, subject=plan_id, **change)


def _limits(limits: Sequence[Limit]) -> dict[str, Any]:
    return {"limits": [terms(limit) for limit in limits]}


def _load(connection: Connection, plan_ids: list[str]) -> list[Plan]:
    return _with_limits(connection, connection.execute(_FIND, (plan_ids,)).fetchall())


def _with_limits(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[Plan]:
    limits = definitions.of_plans(connection, [row["id"] for row in rows])
    return [
        Plan(**{**row, "providers": tuple(row["providers"])}, limits=tuple(limits.get(row["id"], ()))) for row in rows
    ]
