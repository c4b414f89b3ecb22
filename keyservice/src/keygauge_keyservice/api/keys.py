"""Keys over HTTP: issue, list, read, rename, disable, expire, delete."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args

from flask import Blueprint

from keygauge.key import Environment
from keygauge_keyservice import accounts, fields, keys
from keygauge_keyservice.api.schema import NAME, PAGE, TEXT, TIME, array, enum, nullable, obj, operation, path, ref
from keygauge_keyservice.authority import OPERATOR, operator_only
from keygauge_keyservice.services import services

blueprint = Blueprint("api_keys", __name__, url_prefix="/v1")

_SETTABLE = ("active", "disabled")


@blueprint.post("/accounts/<account_id>/keys")
@operator_only
def create(account_id: str) -> tuple[dict[str, Any], int]:
    """Issue a key; the token is shown this once."""
    given = fields.body()
    name = given.name("name")
    environment = given.choice("environment", get_args(Environment), default="live")
    expires_at = given.time("expires_at")
    given.check()
    with services().connection() as connection:
        key, token = keys.create(
            connection,
            peppers=services().settings.peppers,
            account_id=account_id,
            name=name,
            environment=environment,
            expires_at=expires_at,
            actor=OPERATOR,
        )
        return {"key": _document(key), "token": token}, 201


@blueprint.get("/accounts/<account_id>/keys")
@operator_only
def list_page(account_id: str) -> dict[str, Any]:
    """List an account's keys."""
    after, limit = fields.page()
    with services().connection() as connection:
        accounts.require(connection, account_id)
        found = keys.list_keys(connection, account_id, after=after, limit=limit)
    return {"keys": [_document(key) for key in found], "next": found[-1].id if len(found) == limit else None}


@blueprint.get("/keys/<key_id>")
@operator_only
def read(key_id: str) -> dict[str, Any]:
    """Read a key, deleted ones too."""
    with services().connection() as connection:
        return _document(keys.require(connection, key_id))


@blueprint.patch("/keys/<key_id>")
@operator_only
def change(key_id: str) -> dict[str, Any]:
    """Change a key's name, status or expiry: all that is given or nothing."""
    given = fields.body()
    name = given.name("name") if "name" in given else None
    status = given.choice("status", _SETTABLE) if "status" in given else None
    expires_at = given.time("expires_at")
    given.check()
    with services().connection() as connection:
        key = keys.require(connection, key_id)
        if name is not None:
            key = keys.rename(connection, key_id, name, actor=OPERATOR)
        if "expires_at" in given:
            key = keys.set_expiry(connection, key_id, expires_at, actor=OPERATOR)
        if status is not None:
            key = keys.set_status(connection, key_id, status, actor=OPERATOR)
        return _document(key)


@blueprint.delete("/keys/<key_id>")
@operator_only
def delete(key_id: str) -> tuple[str, int]:
    """Delete a key."""
    with services().connection() as connection:
        keys.delete(connection, key_id, actor=OPERATOR)
    return "", 204


def _document(key: keys.Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "account": key.account_id,
        "name": key.name,
        "environment": key.environment,
        "status": key.status,
        "created_at": key.created_at.isoformat(),
        "created_by": key.created_by,
        "expires_at": _time(key.expires_at),
        "deleted_at": _time(key.deleted_at),
        "last_used_at": _time(key.last_used_at),
        "last_used_ip": key.last_used_ip,
        "last_used_route": key.last_used_route,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


_ACCOUNT_ID, _KEY_ID = path("account_id"), path("key_id")
_ENVIRONMENT = enum("live", "test")

SCHEMAS = {
    "Key": obj(
        {
            "id": TEXT,
            "account": TEXT,
            "name": NAME,
            "environment": _ENVIRONMENT,
            "status": enum("active", "disabled", "deleted"),
            "created_at": TIME,
            "created_by": nullable(TEXT),
            "expires_at": nullable(TIME),
            "deleted_at": nullable(TIME),
            "last_used_at": nullable(TIME),
            "last_used_ip": nullable(TEXT),
            "last_used_route": nullable(TEXT),
        }
    )
}

PATHS = {
    "/v1/accounts/{account_id}/keys": {
        "post": operation(
            "createKey",
            "Issue a key; the token is shown this once",
            parameters=[_ACCOUNT_ID],
            body=obj({"name": NAME}, {"environment": _ENVIRONMENT, "expires_at": nullable(TIME)}),
            answer=obj({"key": ref("Key"), "token": TEXT}),
            status=201,
            problems=(404, 422),
        ),
        "get": operation(
            "listKeys",
            "List an account's keys, oldest first; deleted ones are left out",
            parameters=[_ACCOUNT_ID, *PAGE],
            answer=obj({"keys": array(ref("Key")), "next": nullable(TEXT)}),
            problems=(404, 422),
        ),
    },
    "/v1/keys/{key_id}": {
        "get": operation(
            "readKey", "Read a key, deleted ones too", parameters=[_KEY_ID], answer=ref("Key"), problems=(404,)
        ),
        "patch": operation(
            "changeKey",
            "Rename, disable, enable or expire a key",
            parameters=[_KEY_ID],
            body=obj({}, {"name": NAME, "status": enum(*_SETTABLE), "expires_at": nullable(TIME)}),
            answer=ref("Key"),
            problems=(404, 409, 422),
        ),
        "delete": operation("deleteKey", "Delete a key for good", parameters=[_KEY_ID], status=204, problems=(404,)),
    },
}
