"""A key's own limits over HTTP: read and replace them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint

from keygauge_keyservice.api.schema import array, obj, operation, path, ref
from keygauge_keyservice.keys import key_limits
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.limits.limit_terms import LIMITS_MAX, limit_document, read_key_limits
from keygauge_keyservice.web import fields
from keygauge_keyservice.web.bearer_auth import actor, operator_only
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent

blueprint = Blueprint("api_key_limits", __name__, url_prefix="/v1/keys")


@blueprint.get("/<key_id>/limits")
@operator_only
def read(key_id: str) -> dict[str, Any]:
    """Read a key's own limits."""
    with services().connection() as connection:
        return _document(key_limits.find(connection, key_id))


@blueprint.put("/<key_id>/limits")
@operator_only
@idempotent
def replace(key_id: str) -> dict[str, Any]:
    """Give a key other limits of its own."""
    given = fields.body()
    limits = read_key_limits(given)
    given.check()
    with services().connection() as connection:
        return _document(key_limits.replace(connection, key_id, limits, actor=actor(), by_operator=True))


def _document(limits: Sequence[Limit]) -> dict[str, Any]:
    return {"limits": [limit_document(limit) for limit in limits]}


_LIMITS = obj({"limits": {**array(ref("Limit")), "maxItems": LIMITS_MAX}})
_KEY_ID = path("key_id")

SCHEMAS: dict[str, Any] = {}

PATHS = {
    "/v1/keys/{key_id}/limits": {
        "get": operation(
            "readKeyLimits", "Read a key's own limits", parameters=[_KEY_ID], answer=_LIMITS, problems=(404,)
        ),
        "put": operation(
            "replaceKeyLimits",
            "Give a key limits of its own, tighter than its plan's, at once",
            parameters=[_KEY_ID],
            body=_LIMITS,
            answer=_LIMITS,
            problems=(404, 409, 422),
        ),
    },
}
