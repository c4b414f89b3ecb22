"""What a member chose for the portal: a time zone and a format of numbers and dates; None is the browser's."""

from __future__ import annotations

from dataclasses import dataclass

from keygauge_keyservice.database import Connection


@dataclass(frozen=True)
class Preferences:
    """A member's choices."""

    zone: str | None
    locale: str | None


def find(connection: Connection, member_id: int) -> Preferences:
    """Return a member's choices."""
    row = connection.execute(
        "/* preferences.find */ SELECT zone, locale FROM member_preference WHERE member_id = %s", (member_id,)
    ).fetchone()
    return Preferences(row["zone"], row["locale"]) if row else Preferences(None, None)


def save(connection: Connection, member_id: int, chosen: Preferences) -> None:
    """Keep a member's choices."""
    connection.execute(
        "/* preferences.save */ INSERT INTO member_preference (member_id, zone, locale) VALUES (%s, %s, %s) "
        "ON CONFLICT (member_id) DO UPDATE SET zone = excluded.zone, locale = excluded.locale",
        (member_id, chosen.zone, chosen.locale),
    )
