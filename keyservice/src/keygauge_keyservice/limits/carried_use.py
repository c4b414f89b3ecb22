"""Use belongs to an account, a unit and a period: it is carried over when the account changes its plan."""

from __future__ import annotations

from keygauge_keyservice.database import Connection

_SUBJECTS = """subject AS (
    SELECT 'account' AS kind, account.id FROM account WHERE account.id = %(account_id)s
    UNION ALL
    SELECT 'key', key.id FROM key WHERE key.account_id = %(account_id)s)"""


def carry(connection: Connection, account_id: str, *, before: str, after: str) -> None:
    """Copy what is used of a plan's limits to those of another plan that measure the same.

    Units that replicas hold count as used. Where several limits measure the same, the most use counts.
    """
    names = {"account_id": account_id, "before": before, "after": after}
    connection.execute(
        f"/* carried_use.lock */ WITH {_SUBJECTS} "
        "SELECT FROM plan_limit JOIN subject ON kind = plan_limit.subject "
        "JOIN limit_state ON limit_state.id = plan_limit.id || ':' || subject.id "
        "WHERE plan_limit.plan_id IN (%(before)s, %(after)s) ORDER BY limit_state.id FOR UPDATE OF limit_state",
        names,
    )
    connection.execute(
        f"/* carried_use.copy */ WITH {_SUBJECTS} "  # noqa: S608 - a constant
        "INSERT INTO limit_state (id, account_id, head, cells, ends, clock, stamps) "
        "SELECT DISTINCT ON (1) later.id || ':' || subject.id, %(account_id)s, head, cells, ends, clock, stamps "
        "FROM plan_limit AS earlier JOIN subject ON kind = earlier.subject "
        "JOIN limit_state ON limit_state.id = earlier.id || ':' || subject.id "
        "JOIN plan_limit AS later ON later.plan_id = %(after)s "
        "AND (later.subject, later.unit, later.smooth) = (earlier.subject, earlier.unit, earlier.smooth) "
        "AND (later.window_s, later.period, later.route, later.model) "
        "IS NOT DISTINCT FROM (earlier.window_s, earlier.period, earlier.route, earlier.model) "
        "WHERE earlier.plan_id = %(before)s AND earlier.unit <> 'concurrent' "
        "ORDER BY 1, head DESC, (SELECT sum(cell) FROM unnest(cells) AS cell) DESC NULLS LAST "
        "ON CONFLICT (id) DO UPDATE SET head = EXCLUDED.head, cells = EXCLUDED.cells, ends = EXCLUDED.ends, "
        "clock = EXCLUDED.clock, stamps = EXCLUDED.stamps",
        names,
    )
