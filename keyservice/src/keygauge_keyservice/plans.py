"""Plans and their limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.errors import UniqueViolation

from keygauge_keyservice import audit, feed
from keygauge_keyservice.database import Connection
from keygauge_keyservice.problem import Problem, not_found

Subject = Literal["account", "key"]
Unit = Literal["request", "token", "nanousd", "concurrent"]
Period = Literal["day", "month"]
WhenDown = Literal["closed", "safe"]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """So many units in any window of seconds, or in each UTC day or month, or at once; by account or by key."""

    name: str
    unit: Unit
    amount: int
    window_s: int | None = None
    period: Period | None = None
    subject: Subject = "account"
    when_down: WhenDown = "closed"
    dry_run: bool = False
    id: int | None = None  # given by the database

    @property
    def measure(self) -> tuple[Subject, Unit, int | None, Period | None]:
        """Return what makes counted use comparable: a limit keeps its use as long as this stays the same."""
        return self.subject, self.unit, self.window_s, self.period


@dataclass(frozen=True)
class Plan:
    """What an account buys."""

    id: str
    name: str
    created_at: datetime
    limits: tuple[Limit, ...]


def create(connection: Connection, *, plan_id: str, name: str, limits: Sequence[Limit], actor: str) -> Plan:
    """Make a plan with its limits.

    Raises:
        Problem: 409, a plan of that id exists.
    """
    with connection.transaction():
        try:
            connection.execute("/* plans.create */ INSERT INTO plan (id, name) VALUES (%s, %s)", (plan_id, name))
        except UniqueViolation:
            raise Problem(409, "plan_exists", f"There is a plan {plan_id!r} already.") from None
        _insert_limits(connection, plan_id, limits)
        after = {"name": name, "limits": [_terms(limit) for limit in limits]}
        audit.append(connection, account_id=None, actor=actor, action="plan.create", subject=plan_id, after=after)
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


def list_plans(connection: Connection) -> list[Plan]:
    """Return all plans by id."""
    return _load(connection, None)


def replace_limits(connection: Connection, plan_id: str, limits: Sequence[Limit], *, actor: str) -> Plan:
    """Give a plan other limits, at once for all of its accounts.

    A limit that keeps its name and measure keeps the use counted so far; one whose measure changed starts anew.
    """
    with connection.transaction():
        connection.execute("/* plans.lock */ SELECT FROM plan WHERE id = %s FOR UPDATE", (plan_id,))
        old = {limit.name: limit for limit in require(connection, plan_id).limits}
        kept = [limit for limit in limits if limit.name in old and old[limit.name].measure == limit.measure]
        _delete_limits_except(connection, plan_id, [limit.name for limit in kept])
        for limit in kept:
            _update_limit(connection, plan_id, limit)
        _insert_limits(connection, plan_id, [limit for limit in limits if limit not in kept])
        audit.append(
            connection,
            account_id=None,
            actor=actor,
            action="plan.replace_limits",
            subject=plan_id,
            before={"limits": [_terms(limit) for limit in old.values()]},
            after={"limits": [_terms(limit) for limit in limits]},
        )
        plan = require(connection, plan_id)
        feed.record_plan(connection, plan_id)
        return plan


def limits_of(connection: Connection, plan_ids: Iterable[str]) -> dict[str, list[Limit]]:
    """Return the limits of some plans, in the order they were made."""
    rows = connection.execute(
        "/* plans.limits_of */ SELECT plan_id, id, name, subject, unit, amount, window_s, period, when_down, dry_run "
        "FROM plan_limit WHERE plan_id = ANY(%s) ORDER BY id",
        (list(plan_ids),),
    )
    limits: dict[str, list[Limit]] = {}
    for row in rows:
        limits.setdefault(row.pop("plan_id"), []).append(Limit(**row))
    return limits


def _load(connection: Connection, plan_ids: list[str] | None) -> list[Plan]:
    rows = connection.execute(
        "/* plans.load */ SELECT id, name, created_at FROM plan "
        "WHERE %(ids)s::text[] IS NULL OR id = ANY(%(ids)s) ORDER BY id",
        {"ids": plan_ids},
    ).fetchall()
    limits = limits_of(connection, [row["id"] for row in rows])
    return [Plan(**row, limits=tuple(limits.get(row["id"], ()))) for row in rows]


def _insert_limits(connection: Connection, plan_id: str, limits: Sequence[Limit]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "/* plans.insert_limits */ INSERT INTO plan_limit "
            "(plan_id, name, subject, unit, amount, window_s, period, when_down, dry_run) VALUES (%(plan_id)s, "
            "%(name)s, %(subject)s, %(unit)s, %(amount)s, %(window_s)s, %(period)s, %(when_down)s, %(dry_run)s)",
            [asdict(limit) | {"plan_id": plan_id} for limit in limits],
        )


def _update_limit(connection: Connection, plan_id: str, limit: Limit) -> None:
    connection.execute(
        "/* plans.update_limit */ UPDATE plan_limit SET amount = %(amount)s, when_down = %(when_down)s, "
        "dry_run = %(dry_run)s WHERE plan_id = %(plan_id)s AND name = %(name)s",
        asdict(limit) | {"plan_id": plan_id},
    )


def _delete_limits_except(connection: Connection, plan_id: str, names: list[str]) -> None:
    """Delete limits with what was counted for them; rows are locked in the order in which beats lock them."""
    connection.execute(
        "/* plans.delete_limits */ WITH gone AS (DELETE FROM plan_limit WHERE plan_id = %s AND name <> ALL(%s) "
        "RETURNING id::text), "
        "locked AS (SELECT limit_state.id FROM limit_state JOIN gone ON gone.id = split_part(limit_state.id, ':', 1) "
        "ORDER BY limit_state.id FOR UPDATE OF limit_state) "
        "DELETE FROM limit_state WHERE id IN (SELECT id FROM locked)",
        (plan_id, names),
    )


def _terms(limit: Limit) -> dict[str, Any]:
    return {name: value for name, value in asdict(limit).items() if name != "id" and value is not None}
