"""Numbers of rows that statements read, from PostgreSQL's executed plans."""

from contextlib import contextmanager

import psycopg
from psycopg.rows import tuple_row


@contextmanager
def count_rows(connection):
    """Yield a dict that gets, per statement name, the most rows that an execution read."""
    rows, before = {}, connection.cursor_factory

    class Explained(before):
        def execute(self, query, params=None, **options):
            name = query.split("*/")[0].removeprefix("/*").strip()
            with (
                connection.transaction(force_rollback=True),
                psycopg.Cursor(connection, row_factory=tuple_row) as cursor,
            ):
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", params)
                rows[name] = max(rows.get(name, 0), _looked_at(cursor.fetchone()[0][0]["Plan"]))
            return super().execute(query, params, **options)

    connection.cursor_factory = Explained
    try:
        yield rows
    finally:
        connection.cursor_factory = before


def _looked_at(plan):
    here = 0
    if plan["Node Type"].endswith("Scan") and plan["Node Type"] not in {"CTE Scan", "Subquery Scan", "Function Scan"}:
        removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        here = (plan["Actual Rows"] + removed) * plan["Actual Loops"]
    return here + sum(_looked_at(part) for part in plan.get("Plans", ()))
