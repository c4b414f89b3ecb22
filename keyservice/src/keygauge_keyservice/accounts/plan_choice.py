"""Self-service plan changes: which plans an account's owners can choose, and choosing one."""

from __future__ import annotations

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.accounts.accounts import Account
from keygauge_keyservice.accounts.plans import Plan
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.texts import gettext


def offered(connection: Connection, account: Account) -> list[Plan]:
    """Return the self-service plans an account can move to; none if its own plan is not self-service."""
    listed = [plan for plan in plans.list_plans(connection) if plan.self_service]
    others = [plan for plan in listed if plan.id != account.plan_id]
    return others if len(others) < len(listed) else []


def choose(connection: Connection, account_id: str, plan_id: str, *, actor: str) -> None:
    """Move an account to an offered plan, effective immediately.

    Once per UTC day: a day is billed by the plan at its end, so that nobody gets a better plan's limits for nothing.

    Raises:
        Problem: 404 if the plan is not offered; 409 if the account is suspended or its plan was changed today.
    """
    with connection.transaction():
        connection.execute("/* plan_choice.lock */ SELECT FROM account WHERE id = %s FOR UPDATE", (account_id,))
        account = accounts.require(connection, account_id)
        if plan_id not in {plan.id for plan in offered(connection, account)}:
            raise Problem(404, "plan_not_found", gettext("This plan is not available."))
        accounts.require_active(connection, account_id)
        if _is_changed_today(connection, account_id):
            raise Problem(
                409, "plan_changed_today", gettext("The plan was already changed today (UTC). Try again tomorrow.")
            )
        accounts.change_plan(connection, account_id, plan_id, actor=actor)


def _is_changed_today(connection: Connection, account_id: str) -> bool:
    row = connection.execute(
        "/* plan_choice.today */ SELECT FROM account_plan_before "
        "WHERE account_id = %s AND until >= date_trunc('day', clock_timestamp(), 'UTC')",
        (account_id,),
    ).fetchone()
    return row is not None
