"""A member's portal preferences: time zone, number format, clock and language. None means the browser's setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from keygauge_keyservice.database import Connection


@dataclass(frozen=True)
class Preferences:
    """A member's preferences."""

    zone: str | None
    locale: str | None
    hours: Literal[12, 24] | None = None  # 12- or 24-hour clock
    language: str | None = None


def find(connection: Connection, member_id: int) -> Preferences:
    """Return a member's preferences."""
    row = connection.execute(
        "/* preferences.find */ SELECT zone, locale, hours, language FROM member_preference WHERE member_id = %s",
        (member_id,),
    ).fetchone()
    return Preferences(**row) if row else Preferences(None, None)


def save(connection: Connection, member_id: int, chosen: Preferences) -> None:
    """Save a member's preferences."""
    connection.execute(
        "/* preferences.save */ INSERT INTO member_preference (member_id, zone, locale, hours, language) "
        "VALUES (%s, %s, %s, %s, %s) "
        "ON CONFLICT (member_id) DO UPDATE "
        "SET zone = excluded.zone, locale = excluded.locale, hours = excluded.hours, language = excluded.language",
        (member_id, chosen.zone, chosen.locale, chosen.hours, chosen.language),
    )
