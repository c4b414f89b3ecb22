"""HTTP API for a key's own limits: read and replace them."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response

from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.keys import key_limits
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.limits.limit_terms import LimitList, LimitTerms
from keygauge_keyservice.web.bearer_auth import actor, is_operator, owners_too
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent
from keygauge_keyservice.web.message import answer, body

blueprint = Blueprint("api_key_limits", __name__, url_prefix="/v1/keys")


@blueprint.get("/<key_id>/limits")
@owners_too
def read(key_id: str) -> Response:
    """Read a key's own limits."""
    with services().connection() as connection:
        return _answer(key_limits.find(connection, key_id))


@blueprint.put("/<key_id>/limits")
@owners_too
@idempotent
def replace(key_id: str) -> Response:
    """Replace a key's own limits."""
    limits = body(LimitList).of_key()
    with services().connection() as connection:
        return _answer(key_limits.replace(connection, key_id, limits, actor=actor(), by_operator=is_operator()))


def _answer(limits: Sequence[Limit]) -> Response:
    return answer(LimitList, LimitList([LimitTerms.of(limit) for limit in limits]))


PATHS = {
    "/v1/keys/{key_id}/limits": {
        "get": Operation(
            "readKeyLimits", "Read a key's own limits", answer=LimitList, problems=(404,), security="account"
        ),
        "put": Operation(
            "replaceKeyLimits",
            "Replace a key's own limits, which are tighter than its plan's, at once",
            body=LimitList,
            answer=LimitList,
            problems=(404,),
            security="account",
        ),
    },
}
