"""Accounts: the customers who own keys, each on a plan."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg import sql
from psycopg.rows import class_row

from keygauge.key import new_id
from keygauge_keyservice import keyset
from keygauge_keyservice.accounts import plans
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem, not_found
from keygauge_keyservice.journal import audit, change_feed
from keygauge_keyservice.limits import carried_use
from keygauge_keyservice.texts import gettext

# Tables whose rows are deleted with the account, ordered so that no foreign key is violated.
_OF_ACCOUNT = ("session", "member", "invitation", "token", "notice", "notice_channel", "price")

Status = Literal["active", "suspended"]

Sort = Literal["id", "name", "created", "-id", "-name", "-created"]
SORTS = {"id": "id", "name": "lower(name)", "created": "created_at"}

_OWN = "(%(account_id)s::text IS NULL OR id = %(account_id)s)"
_LIST = """/* accounts.list */ SELECT id, name, plan_id, status, created_at FROM account
WHERE {own} AND (%(name)s::text IS NULL OR lower(name) = lower(%(name)s))
AND (%(plan_id)s::text IS NULL OR plan_id = %(plan_id)s)
AND (%(status)s::text IS NULL OR status = %(status)s)
AND {after} ORDER BY {order} LIMIT %(limit)s"""


@dataclass(frozen=True)
class Account:
    """A customer."""

    id: str
    name: str
    plan_id: str
    status: Status
    created_at: datetime


def create(connection: Connection, *, name: str, plan_id: str, actor: str) -> Account:
    """Create an account on a plan.

    Raises:
        Problem: 404 if there is no such plan.
    """
    with connection.transaction():
        plans.require(connection, plan_id)
        account_id = new_id()
        connection.execute(
            "/* accounts.create */ INSERT INTO account (id, name, plan_id) VALUES (%s, %s, %s)",
            (account_id, name, plan_id),
        )
        _record(connection, account_id, actor, "account.create", after={"name": name, "plan": plan_id})
        return require(connection, account_id)


def find(connection: Connection, account_id: str) -> Account | None:
    """Return an account, or None."""
    with connection.cursor(row_factory=class_row(Account)) as cursor:
        return cursor.execute(
            "/* accounts.find */ SELECT id, name, plan_id, status, created_at FROM account WHERE id = %s",
            (account_id,),
        ).fetchone()


def require(connection: Connection, account_id: str) -> Account:
    """Return an account.

    Raises:
        Problem: 404.
    """
    account = find(connection, account_id)
    if account is None:
        raise not_found("account", account_id)
    return account


def require_active(connection: Connection, account_id: str) -> None:
    """Check that an account is not suspended, and will not be before this transaction ends.

    Raises:
        Problem: 404 if there is no such account; 409 if it is suspended.
    """
    lock_additions(connection, account_id)
    if require(connection, account_id).status != "active":
        raise Problem(409, "account_suspended", gettext("This account is suspended."))


def list_accounts(
    connection: Connection,
    *,
    account_id: str | None = None,
    after: str | None = None,
    limit: int | None = None,
    name: str | None = None,
    plan_id: str | None = None,
    status: str | None = None,
    sort: str = "id",
) -> list[Account]:
    """Return a sorted page of accounts, filtered by id, name, plan or status.

    `after` is the id of the last account of the previous page.
    """
    beyond, order = keyset.clauses("account", SORTS, sort, own=_OWN)
    query = sql.SQL(_LIST).format(own=sql.SQL(_OWN), after=beyond, order=order)
    values = {
        "account_id": account_id,
        "after": after,
        "limit": limit,
        "name": name,
        "plan_id": plan_id,
        "status": status,
    }
    with connection.cursor(row_factory=class_row(Account)) as cursor:
        return cursor.execute(query, values, prepare=False).fetchall()


def rename(connection: Connection, account_id: str, name: str, *, actor: str) -> Account:
    """Rename an account.

    Raises:
        Problem: 404.
    """
    with connection.transaction():
        before = _lock(connection, account_id)
        if before.name == name:
            return before
        connection.execute("/* accounts.rename */ UPDATE account SET name = %s WHERE id = %s", (name, account_id))
        _record(connection, account_id, actor, "account.rename", before={"name": before.name}, after={"name": name})
        return require(connection, account_id)


def change_plan(connection: Connection, account_id: str, plan_id: str, *, actor: str) -> Account:
    """Move an account to another plan, effective immediately for all of its keys.

    Limits with the same period or window keep the usage counted so far.

    Raises:
        Problem: 404 if there is no such account or plan.
    """
    with connection.transaction():
        before = _lock(connection, account_id)
        if before.plan_id == plan_id:
            return before
        plans.require(connection, plan_id)
        carried_use.carry(connection, account_id, before=before.plan_id, after=plan_id)
        connection.execute(
            "/* accounts.change_plan */ UPDATE account SET plan_id = %s WHERE id = %s", (plan_id, account_id)
        )
        _record(connection, account_id, actor, "plan.change", before={"plan": before.plan_id}, after={"plan": plan_id})
        change_feed.record_account(connection, account_id)
        return require(connection, account_id)


def set_status(connection: Connection, account_id: str, status: Status, *, actor: str) -> Account:
    """Suspend or reactivate an account, effective immediately for all of its keys.

    Raises:
        Problem: 404.
    """
    with connection.transaction():
        before = _lock(connection, account_id)
        if before.status == status:
            return before
        connection.execute(
            "/* accounts.set_status */ UPDATE account SET status = %s WHERE id = %s", (status, account_id)
        )
        _record(connection, account_id, actor, "account.suspend" if status == "suspended" else "account.activate")
        change_feed.record_account(connection, account_id)
        return require(connection, account_id)


def delete(connection: Connection, account_id: str, *, actor: str) -> None:
    """Delete an account and its members; its audit log is kept.

    Raises:
        Problem: 404; 409 if it has invoices or has ever had keys.
    """
    with connection.transaction():
        before = _lock(connection, account_id)
        row = connection.execute(
            "/* accounts.has_history */ SELECT EXISTS (SELECT FROM key WHERE account_id = %(id)s) "
            "OR EXISTS (SELECT FROM invoice WHERE account_id = %(id)s) AS has_history",
            {"id": account_id},
        ).fetchone()
        if row and row["has_history"]:
            detail = f"The account {account_id!r} has keys or invoices, whose history is kept. Suspend it instead."
            raise Problem(409, "account_in_use", detail)
        for table in _OF_ACCOUNT:
            connection.execute(
                sql.SQL("/* accounts.empty */ DELETE FROM {table} WHERE account_id = %s").format(
                    table=sql.Identifier(table)
                ),
                (account_id,),
            )
        connection.execute("/* accounts.delete */ DELETE FROM account WHERE id = %s", (account_id,))
        deleted = {"name": before.name, "plan": before.plan_id}
        _record(connection, account_id, actor, "account.delete", before=deleted)


def lock_additions(connection: Connection, account_id: str) -> None:
    """Wait until no other transaction adds to an account, so that what it has can be counted exactly."""
    connection.execute(
        "/* accounts.lock_additions */ SELECT FROM account WHERE id = %s FOR NO KEY UPDATE", (account_id,)
    )


def _lock(connection: Connection, account_id: str) -> Account:
    connection.execute("/* accounts.lock */ SELECT FROM account WHERE id = %s FOR UPDATE", (account_id,))
    return require(connection, account_id)


def _record(connection: Connection, account_id: str, actor: str, action: str, **change: dict[str, str]) -> None:
    audit.append(connection, account_id=account_id, actor=actor, action=action, subject=account_id, **change)
