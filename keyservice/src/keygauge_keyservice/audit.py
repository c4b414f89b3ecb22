"""The record of who changed what; append-only, never a secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from keygauge_keyservice.database import Connection


def append(
    connection: Connection,
    *,
    account_id: str | None,
    actor: str,
    action: str,
    subject: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Record one action in the transaction that does it; `before` and `after` hold only what it changed."""
    connection.execute(
        "/* audit.append */ INSERT INTO audit (account_id, actor, action, subject, before, after) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        (account_id, actor, action, subject, _json(before), _json(after)),
    )


def _json(document: Mapping[str, Any] | None) -> Jsonb | None:
    return None if document is None else Jsonb(dict(document))
