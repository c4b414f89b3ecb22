"""Keys over HTTP: issue, list, read, change, rotate, delete."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args

from flask import Blueprint

from keygauge.key import Environment
from keygauge_keyservice import keyset
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.schema import (
    INTEGER,
    NAME,
    PAGE,
    SLUG,
    TEXT,
    TIME,
    array,
    enum,
    nullable,
    obj,
    operation,
    path,
    query,
    ref,
)
from keygauge_keyservice.keys import key_limits, key_page, key_terms, keys, rotation
from keygauge_keyservice.ledger.event import TEXT_LENGTH_MAX
from keygauge_keyservice.limits.limit_terms import LIMITS_MAX, read_key_limits
from keygauge_keyservice.web import fields
from keygauge_keyservice.web.bearer_auth import actor, operator_only
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent

blueprint = Blueprint("api_keys", __name__, url_prefix="/v1")

_SETTABLE = ("active", "disabled")


@blueprint.post("/accounts/<account_id>/keys")
@operator_only
@idempotent
def create(account_id: str) -> tuple[dict[str, Any], int]:
    """Issue a key; the token is shown this once."""
    given = fields.body()
    environment = given.choice("environment", get_args(Environment), default="live")
    terms = key_terms.read_terms(given, is_new=True)
    limits = read_key_limits(given) if "limits" in given else []
    given.check()
    with services().connection() as connection:
        key, token = keys.create(
            connection,
            peppers=services().settings.peppers,
            account_id=account_id,
            environment=environment,
            actor=actor(),
            by_operator=True,
            **terms,
        )
        if limits:
            key_limits.replace(connection, key.id, limits, actor=actor(), by_operator=True)
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


@blueprint.get("/keys")
@operator_only
def list_all() -> dict[str, Any]:
    """List keys of all accounts, or of one."""
    after, limit = fields.page()
    given = fields.filters()
    chosen = {
        "account_id": given.text("account", length_max=TEXT_LENGTH_MAX),
        "name": given.text("name", length_max=TEXT_LENGTH_MAX),
        "status": given.choice("status", get_args(keys.Status), nullable=True),
        "environment": given.choice("environment", get_args(Environment), nullable=True),
        "sort": given.choice("sort", keyset.names(key_page.SORTS), default="created"),
    }
    given.check()
    with services().connection() as connection:
        if chosen["account_id"] is not None:
            accounts.require(connection, chosen["account_id"])
        found = key_page.list_keys(connection, after=after, limit=limit, **chosen)
    return {"keys": [_document(key) for key in found], "next": found[-1].id if len(found) == limit else None}


@blueprint.get("/keys/<key_id>")
@operator_only
def read(key_id: str) -> dict[str, Any]:
    """Read a key, deleted ones too."""
    with services().connection() as connection:
        return _document(keys.require(connection, key_id))


@blueprint.patch("/keys/<key_id>")
@operator_only
@idempotent
def change(key_id: str) -> dict[str, Any]:
    """Change a key's terms, own limits or status: all that is given or nothing."""
    given = fields.body()
    status = given.choice("status", _SETTABLE) if "status" in given else None
    terms = key_terms.read_terms(given, is_new=False)
    limits = read_key_limits(given) if "limits" in given else None
    given.check()
    with services().connection() as connection:
        key = (
            keys.change(connection, key_id, actor=actor(), by_operator=True, **terms)
            if terms
            else keys.require(connection, key_id)
        )
        if limits is not None:
            key_limits.replace(connection, key_id, limits, actor=actor(), by_operator=True)
        if status is not None:
            key = keys.set_status(connection, key_id, status, actor=actor(), by_operator=True)
        return _document(key)


@blueprint.post("/keys/<key_id>/rotations")
@operator_only
@idempotent
def rotate(key_id: str) -> tuple[dict[str, Any], int]:
    """Give a key another secret; the token is shown this once, and null where this rotation was done before."""
    given = fields.body()
    rotation_id = given.slug("rotation_id")
    grace_s = given.integer("grace_s", least=0, most=rotation.GRACE_S_MAX) if "grace_s" in given else 0
    given.check()
    with services().connection() as connection:
        done = rotation.rotate(
            connection,
            key_id,
            peppers=services().settings.peppers,
            rotation_id=rotation_id,
            grace_s=grace_s,
            actor=actor(),
        )
        secrets = [_secret(secret) for secret in rotation.list_secrets(connection, key_id)]
    return {"key": _document(done.key), "token": done.token, "secrets": secrets}, 201 if done.token else 200


@blueprint.delete("/keys/<key_id>")
@operator_only
@idempotent
def delete(key_id: str) -> tuple[str, int]:
    """Delete a key."""
    with services().connection() as connection:
        keys.delete(connection, key_id, actor=actor())
    return "", 204


def _document(key: keys.Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "account": key.account_id,
        "name": key.name,
        "app": key.app,
        "environment": key.environment,
        "status": key.status,
        "created_at": key.created_at.isoformat(),
        "created_by": key.created_by,
        "expires_at": _time(key.expires_at),
        "scopes": list(key.scopes),
        "routes": list(key.routes),
        "networks": list(key.networks),
        "models": list(key.models),
        "rotate_every_days": key.rotate_every_days,
        "rotated_at": key.rotated_at.isoformat(),
        "deleted_at": _time(key.deleted_at),
        "last_used_at": _time(key.last_used_at),
        "last_used_ip": key.last_used_ip,
        "last_used_route": key.last_used_route,
    }


def _secret(secret: rotation.Secret) -> dict[str, Any]:
    return {
        "number": secret.number,
        "created_at": secret.created_at.isoformat(),
        "expires_at": _time(secret.expires_at),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


_ACCOUNT_ID, _KEY_ID = path("account_id"), path("key_id")
_ENVIRONMENT = enum("live", "test")
_DAYS = nullable({"type": "integer", "minimum": 1, "maximum": key_terms.ROTATE_EVERY_DAYS_MAX})
_TERMS = {
    "app": nullable({"type": "string", "maxLength": key_terms.APP_LENGTH_MAX}),
    "expires_at": nullable(TIME),
    "scopes": array(TEXT) | {"maxItems": key_terms.SCOPES_MAX},
    "routes": array(TEXT) | {"maxItems": key_terms.ROUTES_MAX},
    "networks": array(TEXT) | {"maxItems": key_terms.NETWORKS_MAX},
    "models": array(TEXT) | {"maxItems": key_terms.MODELS_MAX},
    "rotate_every_days": _DAYS,
}

_LIMITS = {**array(ref("Limit")), "maxItems": LIMITS_MAX, "description": "its own, beside those of the plan"}

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
            **_TERMS,
            "rotated_at": TIME,
            "deleted_at": nullable(TIME),
            "last_used_at": nullable(TIME),
            "last_used_ip": nullable(TEXT),
            "last_used_route": nullable(TEXT),
        }
    ),
    "Secret": obj({"number": INTEGER, "created_at": TIME, "expires_at": nullable(TIME)}),
}

PATHS = {
    "/v1/accounts/{account_id}/keys": {
        "post": operation(
            "createKey",
            "Issue a key; the token is shown this once",
            parameters=[_ACCOUNT_ID],
            body=obj({"name": NAME}, {"environment": _ENVIRONMENT, **_TERMS, "limits": _LIMITS}),
            answer=obj({"key": ref("Key"), "token": nullable(TEXT)}),
            status=201,
            problems=(404, 409, 422),
        ),
        "get": operation(
            "listKeys",
            "List an account's keys, oldest first; deleted ones are left out",
            parameters=[_ACCOUNT_ID, *PAGE],
            answer=obj({"keys": array(ref("Key")), "next": nullable(TEXT)}),
            problems=(404, 422),
        ),
    },
    "/v1/keys": {
        "get": operation(
            "listAllKeys",
            "List keys of all accounts, or of one; deleted ones only where that status is asked for",
            parameters=[
                query("account", TEXT, "only this account's keys"),
                query("name", TEXT, "only keys of this name, in any case"),
                query("status", enum(*get_args(keys.Status)), "only keys in this state"),
                query("environment", _ENVIRONMENT, "only keys of this environment"),
                query("sort", enum(*keyset.names(key_page.SORTS)), "the order; the oldest first where it is absent"),
                *PAGE,
            ],
            answer=obj({"keys": array(ref("Key")), "next": nullable(TEXT)}),
            problems=(404, 422),
        )
    },
    "/v1/keys/{key_id}": {
        "get": operation(
            "readKey", "Read a key, deleted ones too", parameters=[_KEY_ID], answer=ref("Key"), problems=(404,)
        ),
        "patch": operation(
            "changeKey",
            "Change a key's name, terms, own limits or status",
            parameters=[_KEY_ID],
            body=obj({}, {"name": NAME, "status": enum(*_SETTABLE), **_TERMS, "limits": _LIMITS}),
            answer=ref("Key"),
            problems=(404, 409, 422),
        ),
        "delete": operation("deleteKey", "Delete a key for good", parameters=[_KEY_ID], status=204, problems=(404,)),
    },
    "/v1/keys/{key_id}/rotations": {
        "post": operation(
            "rotateKey",
            "Give a key another secret; old ones end `grace_s` from now. Repeated with its id it changes nothing, and "
            "the token is null",
            parameters=[_KEY_ID],
            body=obj(
                {"rotation_id": SLUG},
                {"grace_s": {"type": "integer", "minimum": 0, "maximum": rotation.GRACE_S_MAX, "default": 0}},
            ),
            answer=obj({"key": ref("Key"), "token": nullable(TEXT), "secrets": array(ref("Secret"))}),
            status=201,
            also=(200,),
            problems=(404, 409, 422),
        ),
    },
}
