"""Idempotency keys: a write repeated with the same key runs once and gets the same response."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import msgspec
from flask import Response, request
from psycopg.types.json import Jsonb

from keygauge_keyservice import reading
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import FieldError, Problem, invalid
from keygauge_keyservice.web.bearer_auth import own_account
from keygauge_keyservice.web.context import services

KEPT_S = 86_400
_LENGTH_MAX = 200
_SECRETS = ("token", "secret", "link")  # shown once: null in the response to a repetition

_P = ParamSpec("_P")


def idempotent(view: Callable[_P, Response]) -> Callable[_P, Response]:
    """Run a write once per `Idempotency-Key`, however often it is sent within a day."""

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> Response:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return view(*args, **kwargs)
        if not (1 <= len(key) <= _LENGTH_MAX and key.isascii() and key.isprintable()):
            raise invalid(
                FieldError("Idempotency-Key", "wrong_text", f"must be 1 to {_LENGTH_MAX} printable characters")
            )
        account_id = own_account(None) or ""  # each account has its own keys
        name = hashlib.sha256(f"{account_id}{request.method} {request.path}\n{key}".encode()).digest()
        with services().connection() as connection:  # committed before the write, so that two cannot both start
            earlier = _claim(connection, name, hashlib.sha256(request.get_data()).digest())
        if earlier is not None:
            return earlier
        try:
            answer = view(*args, **kwargs)
        except Exception:
            with services().connection() as connection:
                connection.execute("/* idempotency.release */ DELETE FROM idempotency WHERE hash = %s", (name,))
            raise
        with services().connection() as connection:
            _keep(connection, name, answer)
        return answer

    return guarded


def _claim(connection: Connection, name: bytes, fingerprint: bytes) -> Response | None:
    """Return the earlier response, or None if this is the first request.

    Raises:
        Problem: 409 if the first request is still in progress; 422 if its body was different.
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
        raise Problem(
            409, "in_progress", "A request with this Idempotency-Key is still in progress. Check for its result."
        )
    if bytes(row["fingerprint"]) != fingerprint:
        raise Problem(422, "key_reused", "This Idempotency-Key was used with another body. Use a new key.")
    body = b"" if row["body"] is None else msgspec.json.encode(row["body"])
    return Response(body, row["status"], content_type="application/json")


def _keep(connection: Connection, name: bytes, answer: Response) -> None:
    kept = None
    if answer.data:
        body = reading.decoder(dict[str, Any]).decode(answer.data)
        kept = Jsonb({field: None if field in _SECRETS else value for field, value in body.items()})
    connection.execute(
        "/* idempotency.keep */ UPDATE idempotency SET status = %s, body = %s WHERE hash = %s",
        (answer.status_code, kept, name),
    )
