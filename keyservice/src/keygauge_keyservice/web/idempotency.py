"""Idempotency keys: a write that is sent again with the same key is done once and answered alike."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from flask import request
from psycopg.types.json import Jsonb

from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import FieldError, Problem, invalid
from keygauge_keyservice.web.context import services

KEPT_S = 86_400
_LENGTH_MAX = 200
_SECRETS = ("token", "secret", "link")  # shown once: null in the answer to a repetition

_P = ParamSpec("_P")
Answer = tuple[dict[str, Any] | str, int]  # text is the nothing of a 204


def idempotent(view: Callable[_P, Answer | dict[str, Any]]) -> Callable[_P, Answer]:
    """Do a write with an `Idempotency-Key` once, however often it is sent within a day."""

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> Answer:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return _whole(view(*args, **kwargs))
        if not (1 <= len(key) <= _LENGTH_MAX and key.isascii() and key.isprintable()):
            raise invalid(FieldError("Idempotency-Key", "wrong_text", f"give 1 to {_LENGTH_MAX} printable characters"))
        name = hashlib.sha256(f"{request.method} {request.path}\n{key}".encode()).digest()
        with services().connection() as connection:  # committed before the write: two at once cannot both begin
            earlier = _claim(connection, name, hashlib.sha256(request.get_data()).digest())
        if earlier is not None:
            return earlier
        try:
            body, status = _whole(view(*args, **kwargs))
        except Exception:
            with services().connection() as connection:
                connection.execute("/* idempotency.release */ DELETE FROM idempotency WHERE hash = %s", (name,))
            raise
        with services().connection() as connection:
            _keep(connection, name, body, status)
        return body, status

    return guarded


def _whole(answer: Answer | dict[str, Any]) -> Answer:
    return answer if isinstance(answer, tuple) else (answer, 200)


def _claim(connection: Connection, name: bytes, fingerprint: bytes) -> Answer | None:
    """Return the earlier answer; None where this is the first time.

    Raises:
        Problem: 409, the first one is not done; 422, it had another body.
    """
    connection.execute(
        "/* idempotency.prune */ DELETE FROM idempotency "
        "WHERE created_at < statement_timestamp() - make_interval(secs => %s)",
        (KEPT_S,),
    )
    cursor = connection.execute(
        "/* idempotency.claim */ INSERT INTO idempotency (hash, fingerprint) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        (name, fingerprint),
    )
    if cursor.rowcount == 1:
        return None
    row = connection.execute(
        "/* idempotency.find */ SELECT fingerprint, status, body FROM idempotency WHERE hash = %s", (name,)
    ).fetchone()
    if row is None or row["status"] is None:
        raise Problem(409, "in_progress", "A request with this Idempotency-Key is not done yet: look for its result.")
    if bytes(row["fingerprint"]) != fingerprint:
        raise Problem(422, "key_reused", "This Idempotency-Key came with another body before: draw a new one.")
    return "" if row["body"] is None else row["body"], row["status"]


def _keep(connection: Connection, name: bytes, body: dict[str, Any] | str, status: int) -> None:
    kept = None
    if isinstance(body, dict):
        kept = Jsonb({field: None if field in _SECRETS else value for field, value in body.items()})
    connection.execute(
        "/* idempotency.keep */ UPDATE idempotency SET status = %s, body = %s WHERE hash = %s",
        (status, kept, name),
    )
