"""HTTP API for keys: create, list, read, change, rotate, delete."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal

from flask import Blueprint, Response
from msgspec import UNSET, Meta, Struct, UnsetType, field, structs

from keygauge.key import Environment
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.api.page import Page, next_of
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import FieldError
from keygauge_keyservice.keys import key_limits, key_page, keys, rotation
from keygauge_keyservice.keys.key_terms import KeyTerms, NewKey, Rotation
from keygauge_keyservice.limits.limit_terms import Limits, of_key, same_names
from keygauge_keyservice.reading import given
from keygauge_keyservice.values.field_types import Text
from keygauge_keyservice.web.bearer_auth import actor, is_operator, own_account, owners_too
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent
from keygauge_keyservice.web.message import answer, body, query

blueprint = Blueprint("api_keys", __name__, url_prefix="/v1")


class KeyFilter(Page):
    """A query for an account's keys."""

    name: Annotated[Text, Meta(description="only keys with this name, ignoring case")] | None = None
    status: (
        Annotated[keys.Status, Meta(description="only keys with this status; without it, all but deleted ones")] | None
    ) = None
    environment: Annotated[Environment, Meta(description="only keys in this environment")] | None = None
    sort: Annotated[key_page.Sort, Meta(description="sort order; prefix with - for descending")] = "created"


class KeyQuery(KeyFilter):
    """A query for keys."""

    account: Annotated[Text, Meta(description="only this account's keys")] | None = None


class KeyOrder(NewKey, kw_only=True):
    """A new key, with its own limits."""

    limits: Limits | UnsetType = UNSET

    def faults(self) -> Iterator[FieldError]:
        """Yield limits with duplicate names."""
        return same_names(self.limits or ())


class KeyChange(KeyTerms):
    """Changes to a key; omitted fields stay unchanged, and limits replace all existing ones."""

    status: Literal["active", "disabled"] | UnsetType = UNSET
    limits: Limits | UnsetType = UNSET

    def faults(self) -> Iterator[FieldError]:
        """Yield limits with duplicate names."""
        return same_names(self.limits or ())


class Key(Struct):
    """A key, without its secret."""

    id: str
    account_id: str = field(name="account")
    name: str
    app: str | None
    environment: Environment
    status: keys.Status
    created_at: datetime
    created_by: str | None
    expires_at: datetime | None
    scopes: list[str]
    routes: list[str]
    networks: list[str]
    models: list[str]
    tools: list[str]
    rotate_every_days: int | None
    rotated_at: datetime
    deleted_at: datetime | None
    last_used_at: datetime | None
    last_used_ip: str | None
    last_used_route: str | None


class KeyPage(Struct):
    """A page of keys."""

    keys: list[Key]
    next: str | None


class IssuedKey(Struct):
    """A new key; the token is null if the request is repeated."""

    key: Key
    token: str | None


class Secret(Struct):
    """One of a key's secrets: when it was created, and when it expires."""

    number: int
    created_at: datetime
    expires_at: datetime | None


class RotatedKey(Struct):
    """A rotated key; the token is null if the rotation was already done."""

    key: Key
    token: str | None
    secrets: list[Secret]


@blueprint.post("/accounts/<account_id>/keys")
@owners_too
@idempotent
def create(account_id: str) -> Response:
    """Create a key; the token is shown once."""
    order = body(KeyOrder)
    terms = given(structs.replace(order, limits=UNSET))
    with services().connection() as connection:
        key, token = keys.create(
            connection,
            peppers=services().settings.peppers,
            account_id=account_id,
            actor=actor(),
            by_operator=is_operator(),
            most=services().settings.account_keys_max,
            **terms,
        )
        if order.limits:
            key_limits.replace(connection, key.id, of_key(order.limits), actor=actor(), by_operator=is_operator())
    return answer(IssuedKey, {"key": key, "token": token}, 201)


@blueprint.get("/accounts/<account_id>/keys")
@owners_too
def list_page(account_id: str) -> Response:
    """List an account's keys."""
    params = query(KeyFilter)
    with services().connection() as connection:
        accounts.require(connection, account_id)
        found = _find(connection, params, account_id)
    return answer(KeyPage, {"keys": found, "next": next_of(found, params.limit)})


@blueprint.get("/keys")
@owners_too
def list_all() -> Response:
    """List keys of all accounts, or of one."""
    params = query(KeyQuery)
    with services().connection() as connection:
        account_id = own_account(params.account)
        if account_id is not None:
            accounts.require(connection, account_id)
        found = _find(connection, params, account_id)
    return answer(KeyPage, {"keys": found, "next": next_of(found, params.limit)})


def _find(connection: Connection, params: KeyFilter, account_id: str | None) -> list[keys.Key]:
    return key_page.list_keys(
        connection,
        account_id=account_id,
        name=params.name,
        status=params.status,
        environment=params.environment,
        sort=params.sort,
        after=params.after or None,
        limit=params.limit,
    )


@blueprint.get("/keys/<key_id>")
@owners_too
def read(key_id: str) -> Response:
    """Read a key, even a deleted one."""
    with services().connection() as connection:
        return answer(Key, keys.require(connection, key_id))


@blueprint.patch("/keys/<key_id>")
@owners_too
@idempotent
def change(key_id: str) -> Response:
    """Change a key's terms, own limits or status, all or nothing."""
    changed = body(KeyChange)
    terms = given(structs.replace(changed, status=UNSET, limits=UNSET))
    with services().connection() as connection:
        key = (
            keys.change(connection, key_id, actor=actor(), by_operator=is_operator(), **terms)
            if terms
            else keys.require(connection, key_id)
        )
        if changed.limits is not UNSET:
            key_limits.replace(connection, key_id, of_key(changed.limits), actor=actor(), by_operator=is_operator())
        if changed.status is not UNSET:
            key = keys.set_status(connection, key_id, changed.status, actor=actor(), by_operator=is_operator())
    return answer(Key, key)


@blueprint.post("/keys/<key_id>/rotations")
@owners_too
@idempotent
def rotate(key_id: str) -> Response:
    """Rotate a key; the token is shown once, and is null if this rotation was already done."""
    order = body(Rotation)
    with services().connection() as connection:
        done = rotation.rotate(
            connection,
            key_id,
            peppers=services().settings.peppers,
            rotation_id=order.rotation_id,
            grace_s=order.grace_s,
            actor=actor(),
        )
        secrets = rotation.list_secrets(connection, key_id)
    content = {"key": done.key, "token": done.token, "secrets": secrets}
    return answer(RotatedKey, content, 201 if done.token else 200)


@blueprint.delete("/keys/<key_id>")
@owners_too
@idempotent
def delete(key_id: str) -> Response:
    """Delete a key."""
    with services().connection() as connection:
        keys.delete(connection, key_id, actor=actor())
    return Response(status=204)


PATHS = {
    "/v1/accounts/{account_id}/keys": {
        "post": Operation(
            "createKey",
            "Create a key; the token is shown once",
            body=KeyOrder,
            answer=IssuedKey,
            status=201,
            problems=(404,),
            security="account",
        ),
        "get": Operation(
            "listKeys",
            "List an account's keys; deleted ones only with `status=deleted`",
            query=KeyFilter,
            answer=KeyPage,
            problems=(404, 422),
            security="account",
        ),
    },
    "/v1/keys": {
        "get": Operation(
            "listAllKeys",
            "List the keys of all accounts, or of one",
            query=KeyQuery,
            answer=KeyPage,
            problems=(404, 422),
            security="account",
        )
    },
    "/v1/keys/{key_id}": {
        "get": Operation("readKey", "Read a key, even a deleted one", answer=Key, problems=(404,), security="account"),
        "patch": Operation(
            "changeKey",
            "Change a key's name, terms, own limits or status",
            body=KeyChange,
            answer=Key,
            problems=(404,),
            security="account",
        ),
        "delete": Operation("deleteKey", "Delete a key permanently", status=204, problems=(404,), security="account"),
    },
    "/v1/keys/{key_id}/rotations": {
        "post": Operation(
            "rotateKey",
            "Rotate a key's secret; old ones expire `grace_s` from now. Repeating it with the same id changes nothing, "
            "and the token is null",
            body=Rotation,
            answer=RotatedKey,
            status=201,
            also=(200,),
            problems=(404,),
            security="account",
        ),
    },
}
