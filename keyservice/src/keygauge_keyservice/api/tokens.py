"""HTTP API for bearer tokens: create, list and revoke those of services, operators, Prometheus and accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from flask import Blueprint, Response
from msgspec import Meta, Struct, field

from keygauge_keyservice.accounts import accounts, tokens
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.api.page import Page, next_of
from keygauge_keyservice.values.field_types import Name, Text, Time
from keygauge_keyservice.web.bearer_auth import actor, operator_only, own_account, owners_too
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent
from keygauge_keyservice.web.message import answer, body, query

blueprint = Blueprint("api_tokens", __name__, url_prefix="/v1/tokens")


class NewToken(Struct):
    """A token to create."""

    kind: tokens.Kind
    name: Name
    account: Annotated[Text, Meta(description="for kind account: the only account that it can access")] | None = None
    scope: (
        Annotated[
            tokens.Scope,
            Meta(
                description="what it may change; for kind admin: read (nothing), keys, billing or all (the "
                "default); for kind account: read (the default) or manage"
            ),
        ]
        | None
    ) = None
    expires_at: Time | None = None


class TokenQuery(Page):
    """A query for tokens."""

    account: Annotated[Text, Meta(description="only this account's tokens")] | None = None
    kind: Annotated[tokens.Kind, Meta(description="only tokens of this kind")] | None = None
    name: Annotated[Text, Meta(description="only tokens with this name, ignoring case")] | None = None
    status: Annotated[Literal["valid", "all"], Meta(description="all: include revoked and expired ones")] = "all"
    sort: Annotated[tokens.Sort, Meta(description="sort order; prefix with - for descending")] = "id"


class Token(Struct):
    """A token, without its secret."""

    id: str
    kind: tokens.Kind
    account_id: str | None = field(name="account")
    name: str
    scope: tokens.Scope
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class IssuedToken(Token):
    """A new token; the secret is null if the request is repeated."""

    secret: str | None


class TokenPage(Struct):
    """A page of tokens."""

    tokens: list[Token]
    next: str | None


@blueprint.post("")
@operator_only
@idempotent
def create() -> Response:
    """Create a token; its secret is shown once."""
    given = body(NewToken)
    with services().connection() as connection:
        made, secret = tokens.create(
            connection,
            kind=given.kind,
            name=given.name,
            account_id=given.account,
            scope=given.scope,
            expires_at=given.expires_at,
            actor=actor(),
        )
    return answer(IssuedToken, vars(made) | {"account": made.account_id, "secret": secret}, 201)


@blueprint.get("")
@owners_too
def list_page() -> Response:
    """List tokens."""
    params = query(TokenQuery)
    account_id = own_account(params.account)
    with services().connection() as connection:
        if account_id is not None:
            accounts.require(connection, account_id)
        found = tokens.list_tokens(
            connection,
            account_id=account_id,
            kind=params.kind,
            name=params.name,
            only_valid=params.status == "valid",
            sort=params.sort,
            after=params.after or None,
            limit=params.limit,
        )
    return answer(TokenPage, {"tokens": found, "next": next_of(found, params.limit)})


@blueprint.delete("/<token_id>")
@owners_too
@idempotent
def revoke(token_id: str) -> Response:
    """Revoke a token."""
    with services().connection() as connection:
        tokens.revoke(connection, token_id, actor=actor())
    return Response(status=204)


PATHS = {
    "/v1/tokens": {
        "post": Operation(
            "createToken",
            "Create a token for a service, an operator, Prometheus or an account; its secret is shown once",
            body=NewToken,
            answer=IssuedToken,
            status=201,
            problems=(404,),
        ),
        "get": Operation(
            "listTokens",
            "List tokens, including revoked ones",
            query=TokenQuery,
            answer=TokenPage,
            problems=(404, 422),
            security="account",
        ),
    },
    "/v1/tokens/{token_id}": {
        "delete": Operation(
            "revokeToken", "Revoke a token, within two seconds", status=204, problems=(404,), security="account"
        ),
    },
}
