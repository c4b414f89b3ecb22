"""Support notes of operators on an account. They are part of its audit log, which its members can read."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.database import Connection
from keygauge_keyservice.journal import audit
from keygauge_keyservice.texts import mark
from keygauge_keyservice.values.field_types import checked, matching

LENGTH_MAX = 2000


def _is_note(text: str) -> bool:
    return len(text.strip()) >= 1 and len(text) <= LENGTH_MAX and "\0" not in text


class NewNote(Struct):
    """A note to add."""

    text: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=LENGTH_MAX,
            extra=checked(
                matching(_is_note), "wrong_text", mark("must have 1 to %(most)s characters"), most=LENGTH_MAX
            ),
        ),
    ]


def add(connection: Connection, account_id: str, note: NewNote, *, actor: str) -> None:
    """Add a note to an account's audit log.

    Raises:
        Problem: 404.
    """
    accounts.require(connection, account_id)
    audit.append(
        connection,
        account_id=account_id,
        actor=actor,
        action="note.add",
        subject=account_id,
        after={"text": note.text.strip()},
    )
