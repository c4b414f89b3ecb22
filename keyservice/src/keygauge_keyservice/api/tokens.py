"""Bearer tokens over HTTP: create, list and revoke those of services, operators and Prometheus."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from flask import Blueprint, Response
from msgspec import Meta, Struct

from keygauge_keyservice.accounts import tokens
from keygauge_keyservice.api.page import Page, next_of
from keygauge_keyservice.api.schema import Operation
from keygauge_keyservice.field_types import Name, Time
from keygauge_keyservice.web.bearer_auth import actor, operator_only
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent
from keygauge_keyservice.web.message import answer, body, query

blueprint = Blueprint("api_tokens", __name__, url_prefix="/v1/tokens")


class NewToken(Struct):
    """A token to be made."""

    kind: tokens.Kind
    name: Name
    scope: Annotated[tokens.Scope, Meta(description="what an admin token may change")] = "all"
    expires_at: Time | None = None


class Token(Struct):
    """A token, without its secret."""

    id: str
    kind: tokens.Kind
    name: str
    scope: tokens.Scope
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class IssuedToken(Token):
    """A token that was just made; its secret is null when the request is repeated."""

    secret: str | None


class TokenPage(Struct):
    """Some tokens."""

    tokens: list[Token]
    next: str | None


@blueprint.post("")
@operator_only
@idempotent
def create() -> Response:
    """Make a token; its secret is shown this once."""
    given = body(NewToken)
    with services().connection() as connection:
        made, secret = tokens.create(
            connection, kind=given.kind, name=given.name, scope=given.scope, expires_at=given.expires_at, actor=actor()
        )
    return answer(IssuedToken, vars(made) | {"secret": secret}, 201)


@blueprint.get("")
@operator_only
def list_page() -> Response:
    """List tokens."""
    page = query(Page)
    with services().connection() as connection:
        found = tokens.list_tokens(connection, after=page.after, limit=page.limit)
    return answer(TokenPage, {"tokens": found, "next": next_of(found, page.limit)})


@blueprint.delete("/<token_id>")
@operator_only
@idempotent
def revoke(token_id: str) -> Response:
    """End a token."""
    with services().connection() as connection:
        tokens.revoke(connection, token_id, actor=actor())
    return Response(status=204)


PATHS = {
    "/v1/tokens": {
        "post": Operation(
            "createToken",
            "Make a token of a service, an operator or Prometheus; its secret is shown this once",
            body=NewToken,
            answer=IssuedToken,
            status=201,
        ),
        "get": Operation(
            "listTokens", "List tokens by id, revoked ones too", query=Page, answer=TokenPage, problems=(422,)
        ),
    },
    "/v1/tokens/{token_id}": {
        "delete": Operation("revokeToken", "End a token, within two seconds", status=204, problems=(404,)),
    },
}
