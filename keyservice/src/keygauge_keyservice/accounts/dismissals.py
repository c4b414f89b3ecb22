"""Alerts that members have dismissed; each stays hidden for seven days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from keygauge_keyservice.database import Connection

_HIDDEN = timedelta(days=7)
PER_MEMBER_MAX = 500  # more than an overview can show


def find(connection: Connection, member_id: int, *, now: datetime | None = None) -> set[str]:
    """Return the names of the alerts that a member dismissed within the last seven days."""
    since = (now or datetime.now(UTC)) - _HIDDEN
    rows = connection.execute(
        "/* dismissals.find */ SELECT name FROM dismissed_alert WHERE member_id = %s AND at > %s", (member_id, since)
    )
    return {row["name"] for row in rows}


def add(connection: Connection, member_id: int, name: str, *, now: datetime | None = None) -> None:
    """Dismiss an alert; the oldest dismissals are forgotten if there are too many."""
    connection.execute(
        "/* dismissals.prune */ DELETE FROM dismissed_alert WHERE member_id = %(id)s AND name IN ("
        "SELECT name FROM dismissed_alert WHERE member_id = %(id)s ORDER BY at DESC OFFSET %(kept)s)",
        {"id": member_id, "kept": PER_MEMBER_MAX - 1},
    )
    connection.execute(
        "/* dismissals.add */ INSERT INTO dismissed_alert (member_id, name, at) VALUES (%s, %s, %s) "
        "ON CONFLICT (member_id, name) DO UPDATE SET at = excluded.at",
        (member_id, name, now or datetime.now(UTC)),
    )
