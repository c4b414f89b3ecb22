"""Bearer tokens over HTTP: create, list and revoke those of services, operators and Prometheus."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args

from flask import Blueprint

from keygauge_keyservice.accounts import tokens
from keygauge_keyservice.api.schema import NAME, PAGE, TEXT, TIME, array, enum, nullable, obj, operation, path, ref
from keygauge_keyservice.web import fields
from keygauge_keyservice.web.bearer_auth import actor, operator_only
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent

blueprint = Blueprint("api_tokens", __name__, url_prefix="/v1/tokens")


@blueprint.post("")
@operator_only
@idempotent
def create() -> tuple[dict[str, Any], int]:
    """Make a token; its secret is shown this once."""
    given = fields.body()
    kind, name = given.choice("kind", get_args(tokens.Kind)), given.name("name")
    scope = given.choice("scope", get_args(tokens.Scope), default="all")
    expires_at = given.time("expires_at")
    given.check()
    with services().connection() as connection:
        made, secret = tokens.create(
            connection, kind=kind, name=name, scope=scope, expires_at=expires_at, actor=actor()
        )
    return {**_document(made), "secret": secret}, 201


@blueprint.get("")
@operator_only
def list_page() -> dict[str, Any]:
    """List tokens."""
    after, limit = fields.page()
    with services().connection() as connection:
        found = tokens.list_tokens(connection, after=after, limit=limit)
    return {"tokens": [_document(token) for token in found], "next": found[-1].id if len(found) == limit else None}


@blueprint.delete("/<token_id>")
@operator_only
@idempotent
def revoke(token_id: str) -> tuple[str, int]:
    """End a token."""
    with services().connection() as connection:
        tokens.revoke(connection, token_id, actor=actor())
    return "", 204


def _document(token: tokens.Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "kind": token.kind,
        "name": token.name,
        "scope": token.scope,
        "created_at": token.created_at.isoformat(),
        "created_by": token.created_by,
        "expires_at": _time(token.expires_at),
        "revoked_at": _time(token.revoked_at),
        "last_used_at": _time(token.last_used_at),
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


_GIVEN = {"kind": enum(*get_args(tokens.Kind)), "name": NAME}
_SCOPE = enum(*get_args(tokens.Scope))
_TOKEN = {
    "id": TEXT,
    **_GIVEN,
    "scope": _SCOPE,
    "created_at": TIME,
    "created_by": TEXT,
    "expires_at": nullable(TIME),
    "revoked_at": nullable(TIME),
    "last_used_at": nullable(TIME),
}

SCHEMAS = {"Token": obj(_TOKEN)}

PATHS = {
    "/v1/tokens": {
        "post": operation(
            "createToken",
            "Make a token of a service, an operator or Prometheus; its secret is shown this once",
            body=obj(
                _GIVEN,
                {
                    "scope": {**_SCOPE, "default": "all", "description": "what an admin token may change"},
                    "expires_at": nullable(TIME),
                },
            ),
            answer=obj({**_TOKEN, "secret": nullable(TEXT)}),
            status=201,
            problems=(422,),
        ),
        "get": operation(
            "listTokens",
            "List tokens by id, revoked ones too",
            parameters=PAGE,
            answer=obj({"tokens": array(ref("Token")), "next": nullable(TEXT)}),
            problems=(422,),
        ),
    },
    "/v1/tokens/{token_id}": {
        "delete": operation(
            "revokeToken", "End a token, within two seconds", parameters=[path("token_id")], status=204, problems=(404,)
        ),
    },
}
